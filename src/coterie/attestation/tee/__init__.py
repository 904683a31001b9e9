"""Trusted execution environments behind one seam: Gramine SGX, TDX, simulated."""
