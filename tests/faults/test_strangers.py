"""A hundred connections without credentials at every port: an honest node gets through beside them."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.long]
PORTS = ("attestation, ps0", "gRPC, ps0", "attestation, worker0", "gRPC, worker0", "key server")


def test_what_strangers_cost_is_told_for_every_port_and_nodes_come_through() -> None:
    command = [sys.executable, "-m", "faults.strangers", "--seconds", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split("|")[1].strip() for line in done.stdout.splitlines()[2:]]
    assert tuple(rows) == PORTS
