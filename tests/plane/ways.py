"""The native kernels by every way that this processor can take; none where there is no compiler."""

from __future__ import annotations

from functools import cache

import pytest

from coterie.errors import EnvironmentUnfit
from coterie.plane.building import KERNEL_LIBRARY
from coterie.plane.kernels import Kernels
from coterie.plane.native_kernels import WAYS, NativeKernels, Way, ways_of
from coterie.plane.numpy_kernels import NumpyKernels

__all__ = ["WAYS", "PackingNumpy", "native_kernels"]


class PackingNumpy(NumpyKernels):
    """NumPy's kernels, which pack as if that paid."""

    packs = True


def native_kernels(way: Way) -> Kernels:
    """The kernels by a way; skips the test where there is none."""
    made = _made()
    if way not in made:
        pytest.skip(f"no native kernels by {way}: no library, or another processor")
    return made[way]


@cache
def _made() -> dict[Way, Kernels]:
    try:
        library = KERNEL_LIBRARY.load()
    except EnvironmentUnfit:
        return {}
    return {way: NativeKernels(library, way) for way in ways_of(library)}
