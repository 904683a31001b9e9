"""Files that only a holder of their key reads or makes: data sets, models, checkpoints."""
