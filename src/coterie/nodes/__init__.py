"""Programs of the three roles, and the processes that run them.

``roles`` is the same for every transport; ``fabric`` is the seam; ``attested`` and ``in_process`` are
two of its implementations (``coterie.plaintext`` is the third, kept apart).
"""
