"""The exchange alone: gradients without a model, and whole runs of nodes that have nothing else."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks.fixed_step import FixedStep, fixed_step
from benchmarks.machine import cpu_seconds
from benchmarks.runs import Setup, Workshop, contract_of
from coterie.arrays import FloatArray

SETUP = Setup(workers=2, batch=32, steps=24, rows=2600, fixed_gradients=True)


def given(step: FixedStep, examples: int = 32) -> tuple[FloatArray, FloatArray]:
    made = step.gradients(
        np.zeros(step.parameters, np.float32),
        np.zeros((examples, step.numeric), np.float32),
        np.zeros((examples, step.categorical, step.dim), np.float32),
        np.zeros(examples, np.float32),
    )
    assert made.examples == examples
    return made.dense_p, made.embedded_bmd


def test_gradients_have_the_shapes_and_zeros_of_real_ones() -> None:
    step = FixedStep(contract_of(SETUP), seed=1)
    dense_p, embedded_bmd = given(step, 20)
    assert dense_p.shape == (475_985,)
    assert dense_p.dtype == embedded_bmd.dtype == np.float32
    assert embedded_bmd.shape == (20, 26, 16)
    assert (dense_p == 0).mean() == pytest.approx(0.36, abs=0.03)
    assert np.isfinite(dense_p).all()


def test_gradients_change_from_step_to_step_and_follow_from_the_workers_name() -> None:
    contract = contract_of(SETUP)
    one, again, other = (fixed_step(name)(contract) for name in ("w0", "w0", "w1"))
    assert isinstance(one, FixedStep)
    assert isinstance(again, FixedStep)
    assert isinstance(other, FixedStep)
    first, second = given(one), given(one)
    assert not (first[0] == second[0]).all()
    for mine, same, others in zip(first, given(again), given(other), strict=True):
        assert (mine == same).all()
        assert not (mine == others).all()


def test_the_kernels_clock_of_this_process_is_its_own() -> None:
    before = time.process_time()
    seen = cpu_seconds(os.getpid())
    assert before <= seen <= time.process_time()


def test_a_process_that_is_not_there_has_no_clock() -> None:
    with pytest.raises(ProcessLookupError):
        cpu_seconds(2**22 + 1)


@pytest.mark.system
def test_whole_runs_without_a_model_are_measured_over_both_transports(tmp_path: Path) -> None:
    shop = Workshop(tmp_path)
    attested, plaintext = (shop.run(SETUP, kind) for kind in ("ra-tls", "PLAINTEXT"))
    assert attested.model_digest == plaintext.model_digest
    for measured in (attested, plaintext):
        assert measured.server_cpu_ms > 0
        assert measured.worker_cpu_ms > 0
        assert measured.examples_per_server_cpu_second > 0
        assert measured.bytes_per_example > 475_985 / 32
