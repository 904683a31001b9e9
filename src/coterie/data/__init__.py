"""Prepared click data inside of a node: examples, their files, the manifest, hashing of ids."""
