"""Stands in front of the installed package on a test's path: exported models must not need it."""

raise ImportError("coterie is not to be imported here")
