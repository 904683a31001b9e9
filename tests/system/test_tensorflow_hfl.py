"""A TensorFlow cluster of several companies as real processes: it learns as a plain one does."""

from __future__ import annotations

from pathlib import Path

import pytest

from coterie.errors import CallRefused, EnvironmentUnfit
from tests.system.clusters import (
    CONTRACT,
    DLRM,
    said_attested,
    said_plainly,
)
from tests.system.conftest import coterie

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(600),
    pytest.mark.usefixtures("loopback", "native_part"),
]


WORKERS = ("worker0", "worker1")
LAST = 5  # steps of each worker at the end
TOLERANCE = 0.005  # three plain runs may be closer to each other by chance


def losses_in_order(lines: list[str]) -> list[str]:
    return [line for line in lines if " loss " in line]


def losses(lines: list[str]) -> list[str]:
    return sorted(losses_in_order(lines))


def test_synchronous_training_gives_the_plain_ones_losses_bit_for_bit() -> None:
    arguments = ("--sync", "--steps", "8", "--rows", "1000")
    plainly = losses(said_plainly(DLRM, *arguments))
    attested, _ = said_attested(CONTRACT, DLRM, *arguments)
    assert len(plainly) == 16
    assert losses(attested) == plainly


def mean_of_last(lines: list[str]) -> float:
    """Mean loss of the last steps of each worker; it begins with log 2."""
    each = [[line for line in losses_in_order(lines) if line.startswith(one)] for one in WORKERS]
    last = [float.fromhex(line.rpartition(" ")[2]) for own in each for line in own[-LAST:]]
    assert len(last) == LAST * len(WORKERS), [len(own) for own in each]
    return sum(last) / len(last)


def test_asynchronous_training_learns_as_plain_runs_do() -> None:
    """No two asynchronous runs are equal: this one differs from plain ones as they do from each other."""
    arguments = ("--steps", "100", "--rows", "1000")  # of both workers together
    plainly = [mean_of_last(said_plainly(DLRM, *arguments)) for _ in range(3)]
    lines, told = said_attested(CONTRACT, DLRM, *arguments)
    spread = max(plainly) - min(plainly)
    middle = (max(plainly) + min(plainly)) / 2
    assert max(plainly) < 0.65
    assert abs(mean_of_last(lines) - middle) < 2 * spread + TOLERANCE
    assert "refused" not in told


@pytest.mark.slow
def test_a_run_whose_program_needs_more_than_its_contract_allows_ends(tmp_path: Path) -> None:
    contract = tmp_path / "contract.toml"
    contract.write_text(CONTRACT.read_text().replace('"RandomUniform", ', ""))
    finished = coterie("tensorflow", "run", contract, DLRM, "--", "--steps", "2", "--rows", "1000")
    assert finished.returncode == CallRefused.exit_code
    assert "error: node ps0 refuses what the program asks of it" in finished.stderr
    assert "seen: RandomUniform" in finished.stderr


def test_checkpoints_that_nobody_would_keep_are_refused() -> None:
    """Without --out the nodes' folders are removed at the end, and what a program had written there with them."""
    arguments = ("--steps", "4", "--rows", "1000", "--save", "2")
    finished = coterie("tensorflow", "run", CONTRACT, DLRM, "--", *arguments)
    assert finished.returncode == EnvironmentUnfit.exit_code
    assert "error: this program has no place for its variables" in finished.stderr
    assert "remedy:   start it with coterie tensorflow run --out DIR" in finished.stderr
