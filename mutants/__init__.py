"""Mutations of Coterie's own code that its tests must notice. No part of the installed package."""
