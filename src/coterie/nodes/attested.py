"""The attested fabric: gRPC over mutual RA-TLS, with this machine's TEE and the party's voucher."""
