"""Runs a program: the bytes that were measured."""

from __future__ import annotations

import linecache
import sys
import types
from collections.abc import Sequence
from pathlib import Path

from coterie.tensorflow.digests import Program


class _Source:
    """The module's loader, which gives its source on request (PEP 302); AutoGraph asks for it."""

    def __init__(self, text: str) -> None:
        self._text = text

    def get_source(self, _: str) -> str:
        """The measured text."""
        return self._text


def execute(program: Program, arguments: Sequence[str]) -> None:
    """Runs a program as ``__main__``, from the measured bytes and not from the disk.

    Its folder is not on the import path, so it imports installed packages only. Code that asks for
    the source, as AutoGraph does to rewrite it, gets these bytes too, since the file name cannot
    exist.

    Args:
        program: The program.
        arguments: Its arguments, in ``sys.argv``.
    """
    name = f"/dev/null/{program.path.name}"
    text = program.source.decode()
    code = compile(program.source, name, "exec", dont_inherit=True)
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    module = types.ModuleType("__main__")
    module.__dict__.update(__file__=name, __loader__=_Source(text), __builtins__=__builtins__)
    sys.modules["__main__"] = module
    sys.argv = [str(program.path), *arguments]
    sys.path = [entry for entry in sys.path if entry and Path(entry) != Path.cwd()]
    exec(code, module.__dict__)  # noqa: S102 (the program that the contract names is what this verb runs)
