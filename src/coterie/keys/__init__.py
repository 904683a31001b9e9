"""Keys, and the files sealed under them: data sets, models, checkpoints."""
