"""How good the models of ``examples/criteo-*.toml`` are, and why their settings are what they are."""
