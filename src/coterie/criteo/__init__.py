"""The Criteo format: reading raw files, preparing data sets, binary shards, synthetic data.

From raw to batch: ``compression`` and ``lines`` stream a file, ``reader`` parses it, ``hashing`` (on
``siphash``) makes rows of ids, ``staging``, ``split`` and ``statistics`` serve ``preparation``, which
writes ``shards`` and a ``manifest``; ``dataset`` opens them again. ``synthetic`` (from ``world``) makes
raw files to try things with.
"""
