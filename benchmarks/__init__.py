"""How fast Coterie is, beside what else there is; ``python -m benchmarks``."""
