"""Programs that attack a TensorFlow cluster of several companies get nothing of others'.

The attackers have passed the attestation, as one has who can forge a quote. Each attack that can succeed at all does so
on plain TensorFlow, too, so that a test would fail without the inspection.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.system.attacked import ATTACKS, Attacked, reason_of
from tests.system.clusters import (
    said_plainly,
)

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(600),
    pytest.mark.usefixtures("loopback", "native_part"),
]

AS_A_WORKER = ("plain", "functions", "condition", "beside", "write", "python", "other")
AS_A_SERVER = ("worker", "master")


@pytest.fixture
def of(tmp_path: Path) -> Iterator[Attacked]:
    with closing(Attacked(tmp_path)) as made:
        yield made


def test_programs_that_attack_get_everything_from_plain_tensorflow(of: Attacked) -> None:
    """All but Python code: a function has a number in the process that made it, and none at the server."""
    lines = said_plainly(ATTACKS, str(of.folder))
    for name in ("plain", "functions", "condition", "beside"):
        assert f"worker1: {name}: {of.of['ps0']}" in lines
    assert f"worker1: other: {of.of['worker0']}" in lines
    assert "worker1: write: written" in lines
    assert (of.folder / "written").read_text() == "x"
    assert "worker1: python: failed: InvalidArgumentError" in lines
    for name in AS_A_SERVER:
        assert f"ps0: {name}: {of.of['worker0']}" in lines
    assert "worker0: trained: True" in lines


def test_programs_that_attack_get_nothing_and_the_attacked_node_tells_it(of: Attacked) -> None:
    """A worker opens no session at another worker: they do not even know each other's address."""
    server, *workers = [of.start(name) for name in ("ps0", "worker0", "worker1")]
    said = {worker.name: worker.said() for worker in workers}
    assert [worker.process.returncode for worker in workers] == [0, 0], said
    server.process.terminate()
    said["ps0"] = server.said()
    for name, attacks in (("worker1", AS_A_WORKER), ("ps0", AS_A_SERVER)):
        for attack in attacks:
            (line,) = [one for one in said[name] if one.startswith(f"{attack}: ")]
            assert line.partition(": ")[2] in (
                {"no answer"}
                if attack == "other"
                else {"failed: UnavailableError", "failed: DeadlineExceededError"}
            )
    assert "trained: True" in said["worker0"]
    assert not (of.folder / "written").exists()
    assert not [one for lines in said.values() for one in lines if has_any(of, one)]
    refusals = {
        name: [reason_of(json.loads(one)) for one in lines if '"event": "Refused"' in one]
        for name, lines in said.items()
    }
    assert refusals["ps0"][0] == (
        "a graph of worker1 may not run here; expected: operations of the contract's list; seen: ReadFile"
    )
    assert refusals["worker0"][0] == (
        "ps0 may not make this call here; expected: /tensorflow.WorkerService/RecvTensor; "
        "seen: /tensorflow.WorkerService/GetStatus"
    )


def has_any(of: Attacked, line: str) -> bool:
    return any(secret in line for secret in of.of.values())
