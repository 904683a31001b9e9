"""The key of a run's checkpoints; ``server`` is the program that gives keys to attested nodes."""
