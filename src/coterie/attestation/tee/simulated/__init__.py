"""Simulated TEEs: well-formed evidence of each kind under roots of its own. They prove nothing, by design."""
