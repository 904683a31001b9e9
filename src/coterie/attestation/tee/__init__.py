"""Trusted execution environments behind one interface: Gramine SGX, TDX, simulated."""
