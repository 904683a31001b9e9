"""A process computes with the native kernels where they are built of this source and right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typing_extensions import override

from coterie.arrays import FloatArray
from coterie.errors import EnvironmentUnfit
from coterie.plane import choice as module
from coterie.plane.building import KERNEL_LIBRARY
from coterie.plane.choice import check, choice, computing_with, kernels
from coterie.plane.kernels import Kernels
from coterie.plane.native_kernels import Way
from coterie.plane.numpy_kernels import NumpyKernels
from tests.plane.ways import WAYS, native_kernels


def chosen_with(path: Path, monkeypatch: pytest.MonkeyPatch) -> module.Choice:
    """The choice of a process whose library would lie elsewhere."""
    monkeypatch.setattr(module, "KERNEL_LIBRARY", replace(KERNEL_LIBRARY, path=path))
    return choice.__wrapped__()


def test_without_a_library_it_is_numpy_and_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = chosen_with(tmp_path / "none.so", monkeypatch)
    assert found.kernels.name == "NumPy"
    assert found.missing is not None
    assert "coterie doctor --build" in found.missing.remedy


def test_something_else_in_the_library_s_place_is_not_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tmp_path / "libplane.so"
    library.write_bytes(b"no library")
    assert chosen_with(library, monkeypatch).kernels.name == "NumPy"


@pytest.mark.parametrize("way", WAYS)
def test_every_way_passes_the_check(way: Way) -> None:
    check(native_kernels(way))


class _Wrong(NumpyKernels):
    """Kernels of a compiler that thinks that a product and a sum are one operation."""

    @override
    def dense_sgd(self, parameters: FloatArray, gradient: FloatArray, rate: np.float32) -> None:
        exact = parameters - gradient.astype(np.float64) * np.float64(rate)
        parameters[:] = exact


def test_kernels_that_compute_something_else_are_not_used() -> None:
    with pytest.raises(EnvironmentUnfit, match="do not compute"):
        check(_Wrong())


def test_a_test_may_choose_others_for_a_while() -> None:
    before, other = kernels(), NumpyKernels()
    with computing_with(other):
        assert kernels() is other
    after: Kernels = kernels()
    assert after is before
