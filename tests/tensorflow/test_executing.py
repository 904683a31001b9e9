"""A program runs from the bytes that were measured."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest

from coterie.tensorflow.digests import read_program
from coterie.tensorflow.executing import execute


def test_what_runs_is_what_was_hashed_whatever_the_disk_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "train.py"
    path.write_text(
        "import inspect, linecache, sys\n"
        "def agreed():\n"
        "    return 1\n"
        "linecache.checkcache()\n"
        "linecache.updatecache(__file__, globals())\n"
        "print(__name__, sys.argv[1:], agreed())\n"
        "print(inspect.getsource(agreed), end='')\n"
    )
    program = read_program(path)
    assert program.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    path.write_text("print('another program')\n")
    for name in ("argv", "path"):
        monkeypatch.setattr(sys, name, list(getattr(sys, name)))
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])

    execute(program, ["--steps", "3"])

    assert capsys.readouterr().out == ("__main__ ['--steps', '3'] 1\ndef agreed():\n    return 1\n")
    assert str(tmp_path) not in sys.path
