"""The records of a run: events, result, evaluation and comparison files, and its directory."""
