"""Nodes as SGX enclaves under Gramine: what the image holds, its manifest, and what starts inside."""
