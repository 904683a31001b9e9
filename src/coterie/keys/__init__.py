"""Keys, and the files that only a holder of their key can read or make: data sets, models, checkpoints."""
