"""The plaintext transport: the same program without TLS and attestation, for benchmarks only.

It has an entry point of its own (``python -m coterie.plaintext``), which only ``coterie bench``
starts, on loopback; nothing else imports this package, and enclave images leave it out. Its runs
are stamped ``PLAINTEXT``.
"""
