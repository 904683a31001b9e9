"""Coterie: companies train recommendation models together without showing each other their data."""

__version__ = "0.1.0"
