"""Nodes as SGX enclaves under Gramine: images, their manifests, and the start inside."""
