"""Thin lines: when bytes arrive, that every port of a server is behind them, and whole runs through them."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks.local_steps import RECIPES, with_recipe
from benchmarks.runs import Workshop
from benchmarks.thin import EXCHANGES, LOCAL_STEPS, ThinLines
from benchmarks.thin_line import Direction, LineKind, line_to, ports_beside
from coterie.contract import load_contract
from coterie.data.prepare.synthetic import synthesize
from tests.benchmarks.test_local_steps import EXAMPLE, small

SLOW = LineKind(megabits=8, milliseconds=20)  # a megabyte per second


def test_bytes_arrive_after_their_length_and_the_delay() -> None:
    direction = Direction(SLOW)
    assert direction.send(10.0, 500_000) == pytest.approx(10.52)
    assert direction.queued_seconds(10.0) == pytest.approx(0.5)


def test_bytes_wait_for_those_before_them_but_not_for_their_delay() -> None:
    direction = Direction(SLOW)
    direction.send(10.0, 500_000)
    assert direction.send(10.1, 100_000) == pytest.approx(10.62)


def test_a_line_that_was_idle_saves_nothing_up() -> None:
    direction = Direction(SLOW)
    direction.send(10.0, 1000)
    assert direction.queued_seconds(20.0) == 0
    assert direction.send(20.0, 100_000) == pytest.approx(20.12)


def test_lines_are_written_as_they_are_read() -> None:
    assert str(LineKind.parse("20:2.5")) == "20:2.5"


@pytest.mark.parametrize("steps", LOCAL_STEPS)
@pytest.mark.parametrize("exchange", EXCHANGES)
def test_every_form_of_the_exchange_is_a_contract(exchange: str, steps: int) -> None:
    recipe = {**RECIPES[LOCAL_STEPS[steps]], **EXCHANGES[exchange]}
    training = with_recipe(load_contract(EXAMPLE), recipe, seed=0).training
    assert exchange.startswith(training.exchange)
    assert training.local_steps == steps


ECHO = """
import socket, sys, threading
def serve(listener):
    while True:
        sock, _ = listener.accept()
        while octets := sock.recv(65536):
            sock.sendall(octets)
        sock.close()
listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
for listener in listeners:
    threading.Thread(target=serve, args=(listener,), daemon=True).start()
print(*(listener.getsockname()[1] for listener in listeners), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def echo() -> Iterator[list[int]]:
    """Two ports of one process that say everything again."""
    with subprocess.Popen(
        [sys.executable, "-c", ECHO], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield [int(word) for word in process.stdout.readline().split()]
        process.stdin.close()


@pytest.mark.system
def test_a_line_carries_everything_in_order_at_every_port_of_the_server(echo: list[int]) -> None:
    assert ports_beside(echo[1]) == sorted(echo)
    said = bytes(range(256)) * 1000
    with ExitStack() as stack:
        near = stack.enter_context(line_to(f"127.0.0.1:{echo[0]}", LineKind(400, 1)))
        host = near.rpartition(":")[0]
        assert host != "127.0.0.1"
        for port in echo:
            sock = stack.enter_context(socket.create_connection((host, port)))
            sock.sendall(said)
            sock.shutdown(socket.SHUT_WR)
            with sock.makefile("rb") as heard:
                assert heard.read() == said


@pytest.mark.slow
@pytest.mark.system
def test_a_run_through_thin_lines_is_measured(tmp_path: Path) -> None:
    sample = tmp_path / "sample.tsv"
    synthesize(sample, rows=4000, seed=1)
    (tmp_path / "runs").mkdir()
    lines = ThinLines(Workshop(tmp_path / "runs"), tmp_path, sample, small("16: the recipe"))
    found = lines.figures("int8", 16)
    assert 0.4 < found["test_auc"] < 1
    assert all(value > 0 for value in found.values())
    assert found["step_ms"] > 40, "a round trip"
