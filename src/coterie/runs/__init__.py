"""What a run leaves behind: its events, results, evaluation and comparison files, and its folder."""
