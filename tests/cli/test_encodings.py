"""Every verb's output on terminals whose encoding lacks characters: as escapes, and with the verb's exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

CONTRACT = REPOSITORY / "examples" / "hfl.toml"


def ran(encoding: str, *words: str | Path | bytes) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    return subprocess.run(
        [sys.executable, "-m", "coterie", *words], env=environment, capture_output=True, check=False
    )


@pytest.mark.system
@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1252", "utf-8"])
def test_a_skipped_line_is_shown_in_what_the_terminal_has(encoding: str, tmp_path: Path) -> None:
    raw = tmp_path / "raw.tsv"
    row = "0" + "\t1" * 13 + "\tab" * 26 + "\n"
    raw.write_text(row * 60 + "\u4e2d" + row, encoding="utf-8")
    done = ran(
        encoding, "prepare", raw, tmp_path / "out", "--contract", CONTRACT, "--max-bad-rows", "1"
    )
    assert (done.returncode, done.stderr.decode()) == (0, done.stderr.decode())
    assert b"Traceback" not in done.stderr
    assert ("\u4e2d" if encoding == "utf-8" else r"\u4e2d") in done.stdout.decode(encoding)


@pytest.mark.system
@pytest.mark.parametrize("as_json", [[], ["--json"]])
@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
@pytest.mark.parametrize(
    "words",
    [
        ["contract", "show", b"caf\xe9-\xe4\xb8\xad.toml"],
        ["init", b"no/folder/caf\xe9-\xe4\xb8\xad.toml", "--yes"],
        ["evaluate", b"caf\xe9-\xe4\xb8\xad", "data"],
        ["export", b"caf\xe9-\xe4\xb8\xad", "out"],
        ["receipt", "verify", b"caf\xe9-\xe4\xb8\xad"],
    ],
)
def test_a_files_name_that_cannot_be_printed_is_an_escape(
    words: list[str | bytes], encoding: str, as_json: list[str]
) -> None:
    done = ran(encoding, *words, *as_json)
    assert done.returncode not in {0, 1}
    assert b"Traceback" not in done.stderr
    assert b"caf" in done.stdout + done.stderr


@pytest.mark.system
def test_a_raw_file_whose_name_is_no_text_is_prepared(tmp_path: Path) -> None:
    raw = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.tsv"))
    raw.write_text(("0" + "\t1" * 13 + "\tab" * 26 + "\n") * 60, encoding="utf-8")
    done = ran("utf-8", "prepare", raw, tmp_path / "out", "--contract", CONTRACT, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["source"]["name"] == "caf?.tsv"
