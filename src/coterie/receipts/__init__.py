"""The receipt: a signed, hash-chained account of an attested run, and its offline verification.

``recorder`` writes it on shard 0, ``cluster_recorder`` in a TensorFlow cluster; ``reading`` and
``chain`` say whether a byte was changed; ``verification`` judges the evidence in it; ``history`` and
``cluster_history`` say whether the account adds up; ``explain`` says what it proves; ``parents``
follows it back to those of the runs before.
"""
