"""Checkpoints of a shard: incremental, written in the background, verified before use."""
