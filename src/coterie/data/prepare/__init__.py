"""Prepares raw click data on its owner's host: reads, checks, hashes and stages it as a data set."""
