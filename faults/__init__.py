"""A campaign of seeded faults: every run must end with the model of an undisturbed one.

``python -m faults --seeds 200``: kills and restarts of real processes, and calls that are lost
before or after they took effect, come twice, or come late. A case follows from its seed alone:
``python -m faults --seed 17`` plays it again.
"""
