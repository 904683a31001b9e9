"""Tokens of attestation services: added evidence that a contract may demand beside a quote."""
