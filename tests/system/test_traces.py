"""Traces of a whole federated run, every node a process, at a collector on this machine."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from coterie.contract import parse_contract
from coterie.nodes.launch import run_processes
from coterie.runs.result import RunResult
from tests.nodes.collecting import Collector, collecting
from tests.system.conftest import Ran, Scene, contract_text

pytestmark = [pytest.mark.system, pytest.mark.slow]

WORKERS = ("acme-worker", "bolt-worker")


@pytest.fixture(scope="module")
def ran(hfl: Scene, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunResult, Collector]:
    text = contract_text("hfl") + "\n[results]\ntraces = true\n"
    out = tmp_path_factory.mktemp("traced") / "run"
    with collecting() as collector:
        command = (sys.executable, "-m", "coterie", "node", "--traces-to", collector.url)
        contract = parse_contract(text.encode(), "traced")
        result = run_processes(contract, hfl.data, out, lambda _: None, command=command)
    return result, collector


def test_they_change_no_bit_of_the_model(ran: tuple[RunResult, Collector], hfl_local: Ran) -> None:
    assert ran[0].model_digest == hfl_local.result["model_digest"]


def test_every_node_sends_its_own(ran: tuple[RunResult, Collector]) -> None:
    _, collector = ran
    assert {span.node for span in collector.spans} == {"ps0", *WORKERS}
    assert {(one["service.instance.id"], one["coterie.role"]) for one in collector.resources} == {
        ("ps0", "ps"),
        *((worker, "worker") for worker in WORKERS),
    }


def test_handshakes_are_seen_from_both_sides(ran: tuple[RunResult, Collector]) -> None:
    _, collector = ran
    proved = {
        (span.node, span.attributes["coterie.peer"])
        for span in collector.named("handshake")
        if "error.type" not in span.attributes
    }
    assert proved == {
        *(("ps0", worker) for worker in WORKERS),
        *((worker, "ps0") for worker in WORKERS),
    }


def test_steps_are_told_with_their_parts(ran: tuple[RunResult, Collector]) -> None:
    result, collector = ran
    for node in ("ps0", *WORKERS):
        steps = [span.attributes["coterie.step"] for span in collector.named("step", node)]
        assert steps == sorted(set(steps))
        assert steps[-1] == result.steps
    for worker in WORKERS:
        for part in ("compute", "prepare", "exchange"):
            parents = {span.parent for span in collector.named(part, worker)}
            assert parents == {span.span for span in collector.named("step", worker)}
    for work in ("decode", "apply", "read", "wait"):
        assert collector.named(work, "ps0")
    assert len(collector.named("apply", "ps0")) == result.steps


def test_checkpoints_and_validations_are_told(ran: tuple[RunResult, Collector]) -> None:
    _, collector = ran
    saved = [span.attributes["coterie.step"] for span in collector.named("checkpoint")]
    assert saved[:2] == [5, 10]
    for worker in WORKERS:
        due = [span.attributes["coterie.step"] for span in collector.named("validation", worker)]
        assert due[:2] == [5, 10]


def test_nothing_of_the_data_or_the_machine_is_in_them(
    ran: tuple[RunResult, Collector], hfl: Scene
) -> None:
    _, collector = ran
    assert {name for span in collector.spans for name in span.attributes} <= {
        "coterie.step",
        "coterie.peer",
        "coterie.peer.role",
        "coterie.peer.tee",
        "error.type",
        "coterie.failed_check",
    }
    for said in (str(hfl.data), str(Path.home()), "127.0.0.1"):
        assert said.encode() not in collector.octets


def test_a_node_does_not_start_where_the_contract_is_silent(hfl: Scene) -> None:
    from coterie.errors import ContractInvalid
    from tests.system.conftest import coterie

    done = coterie(
        "node", hfl.contract, "ps0", "--traces-to", "https://collector.example", "--party-key", "x"
    )
    assert done.returncode == ContractInvalid.exit_code
    assert "--traces-to has no meaning under this contract" in done.stderr + done.stdout
