"""Fuzzes one target: ``python -m fuzz.one TARGET [libFuzzer options] [CORPUS]``."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["coterie", "asn1crypto"], enable_loader_override=False):
    from fuzz.targets import TARGETS


def main() -> None:
    """Runs until libFuzzer ends the process: a finding, a limit, or the time."""
    target = TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
