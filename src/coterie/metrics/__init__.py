"""Metrics of binary classification, and the counted scores that they follow from."""
