"""Programs and wheels: what is hashed is what runs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from coterie.contract import Contract, parse_contract
from coterie.errors import ContractInvalid, EnvironmentUnfit
from coterie.tensorflow.digests import (
    MAX_PROGRAM_BYTES,
    check_digests,
    completed,
    read_program,
    tensorflow_folder,
    wheel_digest,
)
from tests.conftest import REPOSITORY

CLUSTER = REPOSITORY / "examples" / "tensorflow" / "cluster.toml"


def contract(**digests: str) -> Contract:
    lines = "".join(f'{key} = "{value}"\n' for key, value in digests.items())
    text = CLUSTER.read_text().replace("[tensorflow]\n", f"[tensorflow]\n{lines}")
    return parse_contract(text.encode(), "cluster.toml")


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    folder = tmp_path / "tensorflow"
    (folder / "python").mkdir(parents=True)
    (folder / "__init__.py").write_text("one = 1\n")
    (folder / "libtensorflow.so.2").write_bytes(b"\x7fELF")
    (folder / "python" / "_pywrap.so").write_bytes(b"\x7fELF more")
    (folder / "header.h").write_text("int one;\n")
    return folder


def test_every_file_of_code_counts_and_no_other(wheel: Path) -> None:
    digest = wheel_digest(wheel)
    (wheel / "header.h").write_text("int two;\n")
    assert wheel_digest(wheel) == digest
    for name in ("__init__.py", "libtensorflow.so.2", "python/_pywrap.so"):
        kept = (wheel / name).read_bytes()
        (wheel / name).write_bytes(kept + b" ")
        assert wheel_digest(wheel) != digest
        (wheel / name).write_bytes(kept)
    (wheel / "more.py").touch()
    assert wheel_digest(wheel) != digest


def test_the_installed_tensorflow_is_found_without_loading_it() -> None:
    loaded = "tensorflow" in sys.modules
    assert (tensorflow_folder() / "__init__.py").exists()
    assert ("tensorflow" in sys.modules) == loaded


def test_a_program_is_refused_unless_the_contract_names_it(tmp_path: Path) -> None:
    path = tmp_path / "train.py"
    path.write_text("print('one')\n")
    program, wheel = read_program(path), "cd" * 32
    check_digests(contract(program=program.digest, wheel=wheel), program, wheel)
    for digests, key in (
        ({"program": "ab" * 32, "wheel": wheel}, "program"),
        ({"program": program.digest, "wheel": "ab" * 32}, "wheel"),
        ({"program": program.digest}, "wheel"),
        ({}, "program"),
    ):
        with pytest.raises(ContractInvalid) as refused:
            check_digests(contract(**digests), program, wheel)
        assert refused.value.expected.startswith(f"tensorflow.{key} = ")


def test_a_simulated_contract_is_completed_but_never_changed(tmp_path: Path) -> None:
    path = tmp_path / "train.py"
    path.write_text("print('one')\n")
    program = read_program(path)
    filled = completed(contract(), program, "cd" * 32).tensorflow
    assert filled is not None
    assert (filled.program, filled.wheel) == (program.digest, "cd" * 32)
    kept = completed(contract(program="ab" * 32), program, "cd" * 32).tensorflow
    assert kept is not None
    assert kept.program == "ab" * 32


def test_programs_that_cannot_be_read_or_are_too_large_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentUnfit, match="cannot be read"):
        read_program(tmp_path / "none.py")
    large = tmp_path / "large.py"
    large.write_bytes(b"#" * (MAX_PROGRAM_BYTES + 1))
    with pytest.raises(EnvironmentUnfit, match="too large"):
        read_program(large)
