"""RA-TLS: TLS 1.3 between nodes whose certificates are bound to evidence of a TEE (handshake, sessions, channels)."""
