"""RA-TLS: TLS 1.3 between nodes, with certificates that are bound to evidence of a TEE."""
