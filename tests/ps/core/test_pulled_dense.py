"""Differences of dense parameters are for those who hold the parameters of the step before."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from coterie.plane.choice import computing_with
from coterie.plane.packing import unpack_differences
from coterie.ps.core.pulled_dense import PulledDense
from tests.plane.ways import PackingNumpy

OLD = np.linspace(1, 2, 40, dtype=np.float32)
NEW = np.nextafter(OLD, np.float32(3))


@pytest.fixture(autouse=True)
def packs() -> Iterator[None]:
    with computing_with(PackingNumpy()):
        yield


@pytest.mark.parametrize("step", [None, 0, 3, 5, 6, 2**63])
def test_whoever_holds_other_parameters_gets_them_whole(step: int | None) -> None:
    pulled = PulledDense(4, OLD.tobytes()).followed_by(NEW.tobytes())
    assert pulled.whole == NEW.tobytes()
    assert pulled.for_holder_of(step) is None


def test_whoever_holds_those_of_the_step_before_gets_differences() -> None:
    pulled = PulledDense(4, OLD.tobytes()).followed_by(NEW.tobytes())
    packed = pulled.for_holder_of(4)
    assert packed is not None
    assert len(packed) < NEW.nbytes
    np.testing.assert_array_equal(unpack_differences(packed, OLD, "dense"), NEW)


def test_where_a_model_begins_there_are_no_differences() -> None:
    """At a restart, or where the best model has replaced the last one."""
    assert PulledDense(5, NEW.tobytes()).for_holder_of(4) is None


def test_other_shards_hold_none() -> None:
    assert PulledDense(4, b"").followed_by(b"").for_holder_of(4) is None


def test_differences_that_are_longer_are_not_sent() -> None:
    assert PulledDense(4, OLD.tobytes()).followed_by((-NEW).tobytes()).for_holder_of(4) is None
