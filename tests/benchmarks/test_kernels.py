"""What the benchmark of the kernels times is every kernel, and runs."""

from __future__ import annotations

import inspect

from typing_extensions import override

from benchmarks.kernels import cpu_ms, works
from coterie.plane.kernels import Kernels
from coterie.plane.numpy_kernels import NumpyKernels


class Watched(NumpyKernels):
    """NumPy's kernels, which keep the names of those that were called."""

    def __init__(self) -> None:
        self.called: set[str] = set()

    @override
    def __getattribute__(self, name: str) -> object:
        found: object = super().__getattribute__(name)
        if inspect.ismethod(found):
            self.called.add(name)
        return found


def test_every_kernel_is_timed() -> None:
    watched = Watched()
    for work in works(parameters=200, table_rows=3000).values():
        assert cpu_ms(work, watched, turns=2) >= 0
    public = {name for name, one in vars(Kernels).items() if inspect.isfunction(one)}
    assert watched.called >= {name for name in public if not name.startswith("_")}
