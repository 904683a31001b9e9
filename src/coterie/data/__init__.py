"""Prepared click data inside of a node: examples, the files that hold them, the manifest, and how ids become rows."""
