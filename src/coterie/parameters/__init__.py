"""Parameters of a model: their initial values, which shard holds which rows, and their digest."""
