"""Evidence of guests that a cloud's virtual TPM measures: the report of the TEE below binds the TPM's key."""
