"""Generated from ps.proto by `make proto`."""
