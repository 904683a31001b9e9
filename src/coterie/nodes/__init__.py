"""Programs of the three roles, and the processes that run them.

The programs are the same for every transport; ``fabric`` is the interface to the transport.
``attested`` and ``in_process`` are two of its implementations; the third, ``coterie.plaintext``, is
kept apart.
"""
