"""Checkpoints of a shard: incremental, written beside the training, verified before they count."""
