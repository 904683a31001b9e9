"""A small image to render manifests from, and Gramine's tools where they are installed."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from coterie.enclave.gramine import GramineTools
from coterie.enclave.manifest import Settings, render_manifest
from coterie.enclave.staging import StagedFile

FILES = (
    StagedFile(PurePosixPath("bin/python3.11"), bytes(32)),
    StagedFile(PurePosixPath("etc/hosts"), b"\1" * 32),
    StagedFile(PurePosixPath("lib/python3.11/site-packages/certifi/cacert.pem"), b"\2" * 32),
    StagedFile(PurePosixPath("lib/python3.11/site-packages/coterie/errors.py"), b"\3" * 32),
)
SETTINGS = Settings("worker", size_gib=32, max_threads=512)
NATIVE = "lib/python3.11/site-packages/coterie/tensorflow/native/libattested_sockets.so"
FILES_FOR_PROGRAMS = (*FILES, StagedFile(PurePosixPath(NATIVE), b"\4" * 32))


@pytest.fixture(scope="session")
def manifest() -> str:
    """A worker's manifest."""
    return render_manifest(SETTINGS, FILES)


@pytest.fixture(scope="session")
def gramine() -> GramineTools:
    """Gramine's tools; tests that need them are skipped elsewhere."""
    tools = GramineTools.installed()
    if tools is None:
        pytest.skip("Gramine is not installed here: its own tools judge no manifest")
    return tools
