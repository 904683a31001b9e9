"""Nodes as confidential virtual machines: images whose every byte is measured, and their start."""
