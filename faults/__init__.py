"""A campaign of seeded faults: every run must end with the model of an undisturbed one.

``python -m faults --seeds 200``: kills and restarts of real processes; connections that are cut or
stall; calls that are lost before or after they took effect, come twice, or come late; and nodes
that are removed for good, after which the others must end with an error that says so. A case
follows from its seed alone: ``python -m faults --seed 17`` plays it again.
"""
