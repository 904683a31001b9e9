"""Modules that are imported when they are used: collecting the suite loads no TensorFlow.

A test file names such a module twice: for the type checker as an import, else as a ``Lazily``.
"""

from __future__ import annotations

from importlib import import_module


class Lazily:
    """Stands for a module until one of its names is asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> object:
        if name.startswith(("_", "pytest")):  # asked for while tests are collected
            raise AttributeError(name)
        return getattr(import_module(self._name), name)
