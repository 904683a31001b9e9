"""Without a compiler or OpenSSL's headers nothing is built, and the error says what is missing."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from coterie.errors import EnvironmentUnfit
from coterie.tensorflow import selftest
from coterie.tensorflow.building import NATIVE_PART
from coterie.tensorflow.native import load
from coterie.tensorflow.selftest import Heard


def test_the_native_part_is_small_enough_to_review() -> None:
    """Each file has one idea, and is read in one sitting."""
    lengths = [
        len(file.read_text().splitlines()) for file in (*NATIVE_PART.sources, *NATIVE_PART.headers)
    ]
    assert max(lengths) < 600
    assert sum(lengths) < 2100


def test_every_file_of_the_native_part_is_built_and_measured() -> None:
    folder = NATIVE_PART.path.parent
    assert {*NATIVE_PART.sources, *NATIVE_PART.headers} == {*folder.glob("*.[ch]")}


def test_a_missing_compiler_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentUnfit) as refused:
        NATIVE_PART.compiler()
    assert refused.value.expected == "a C compiler"
    assert "libssl-dev" in refused.value.remedy


@pytest.mark.system
def test_missing_headers_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "cc"
    broken.write_text("#!/bin/sh\necho 'fatal error: openssl/evp.h: No such file' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(EnvironmentUnfit) as refused:
        NATIVE_PART.compiler()
    assert refused.value.expected.startswith("OpenSSL's headers")
    assert "openssl/evp.h" in refused.value.seen


@pytest.mark.system
def test_openssl_obeys_no_configuration_of_the_host(native_part: None, tmp_path: Path) -> None:
    """One could name a provider: a shared object that OpenSSL loads into the process."""
    settings = tmp_path / "openssl.cnf"
    settings.write_text(
        "openssl_conf = all\nconfig_diagnostics = 1\n[all]\nproviders = some\n[some]\nforeign = other\n"
        "[other]\nmodule = /nowhere/foreign.so\nactivate = 1\n"
    )
    library = NATIVE_PART.path
    made = (
        f"import ctypes; crypto = ctypes.CDLL({str(library)!r}); fetch = crypto.EVP_KDF_fetch\n"
        "fetch.restype, fetch.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p]\n"
        "print(bool(fetch(None, b'TLS13-KDF', None)))"
    )
    said = subprocess.run(
        [sys.executable, "-c", made],
        env={**os.environ, "LD_PRELOAD": str(library), "OPENSSL_CONF": str(settings)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout == "True\n"


@pytest.mark.system
def test_the_verb_says_where_the_library_is(native_part: None) -> None:
    command = [sys.executable, "-m", "coterie", "tensorflow", "build", "--json"]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(said.stdout) == {"library": str(NATIVE_PART.path)}


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = dataclasses.replace(NATIVE_PART, path=tmp_path / "none.so")
    monkeypatch.setattr("coterie.tensorflow.native.NATIVE_PART", elsewhere)
    with pytest.raises(EnvironmentUnfit) as refused:
        load()
    assert refused.value.remedy.startswith("run `coterie tensorflow build`")


@pytest.mark.parametrize(
    ("heard", "seen"),
    [
        (Heard(b"... canary_1 ...", b"... canary_1 ..."), "the canary in plaintext"),
        (Heard(b"PRI * HTTP/2.0\r\n", b"canary_1"), "the canary in plaintext"),
        (Heard(b"\x17\x03\x03", b""), "a process without it"),
        (Heard(b"", b""), "a process without it"),
    ],
)
def test_the_self_test_judges_what_it_heard(heard: Heard, seen: str) -> None:
    with pytest.raises(EnvironmentUnfit) as refused:
        selftest.check(heard, b"canary_1")
    assert refused.value.seen == seen
    selftest.check(Heard(b"\x17\x03\x03", b"... canary_1 ..."), b"canary_1")
