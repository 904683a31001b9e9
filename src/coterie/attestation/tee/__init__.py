"""Trusted execution environments behind one interface: Gramine SGX, TDX, SEV-SNP, Azure's virtual TPM, simulated."""
