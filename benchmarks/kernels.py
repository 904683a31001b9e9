"""CPU of each kernel of the exchange, in NumPy and by every native way: ``python -m benchmarks.kernels``.

The sizes are those of a step of four workers with 128 examples each, of the paper's DLRM.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from statistics import median

import numpy as np

from coterie.arrays import FloatArray, IdArray
from coterie.plane.building import KERNEL_LIBRARY
from coterie.plane.kernels import Factors, Kernels
from coterie.plane.native_kernels import NativeKernels, ways_of
from coterie.plane.numpy_kernels import NumpyKernels

_WORKERS, _ENTRIES, _DIM, _PARAMETERS = 4, 128 * 26, 16, 475_985
_RATE, _EPSILON = np.float32(0.01), np.float32(1e-7)
Work = Callable[[Kernels], object]


def works(parameters: int, table_rows: int) -> dict[str, Work]:
    """What is timed, by name."""
    rng = np.random.default_rng(3)

    def drawn() -> IdArray:
        return (table_rows * rng.random(_ENTRIES) ** 4).astype(np.int32)

    def normal(*shape: int) -> FloatArray:
        return rng.normal(size=shape).astype(np.float32)

    numpy = NumpyKernels()
    pushes = [normal(parameters) for _ in range(_WORKERS)]
    for push in pushes:
        push[rng.random(parameters) < 0.36] = 0
    batch, ids = drawn(), [np.unique(drawn()) for _ in range(_WORKERS)]
    row_pushes = [normal(one.size, _DIM) for one in ids]
    rows, together = numpy.unique(np.concatenate(ids))
    places = np.split(together, np.cumsum([one.size for one in ids])[:-1])
    batch_rows, inverse = numpy.unique(batch)
    gradient_ed, gradient_ud = normal(_ENTRIES, _DIM), normal(rows.size, _DIM)
    table, dense, sums = normal(table_rows, _DIM), normal(parameters), np.abs(normal(parameters))
    states = {width: np.zeros((table_rows, width), np.float32) for width in (1, _DIM)}
    old, new = dense.copy(), dense.copy()
    new[rng.random(parameters) < 0.5] *= np.float32(1 + 1e-4)  # half of the units are dead
    kept, mask = numpy.pack_zeros(pushes[0])
    differences = numpy.pack_differences(old, new)
    equal, other = Factors.of([1 / 512] * 4), Factors.of([1 / 512, 1 / 500, 1 / 512, 1 / 100])
    adagrad = {"rate": _RATE, "initial": np.float32(0.1), "epsilon": _EPSILON}
    return {
        "sum of dense gradients, equal factors": lambda k: k.sum_dense(pushes, equal),
        "sum of dense gradients, other factors": lambda k: k.sum_dense(pushes, other),
        "sum of rows": lambda k: k.sum_rows(row_pushes, places, rows.size, equal),
        "distinct ids of four pushes": lambda k: k.unique(np.concatenate(ids)),
        "distinct ids of a batch": lambda k: k.unique(batch),
        "sums by row of a batch": lambda k: k.sum_by_row(gradient_ed, inverse, batch_rows.size),
        "SGD, dense": lambda k: k.dense_sgd(dense, pushes[0].copy(), _RATE),
        "Adagrad, dense": lambda k: k.dense_adagrad(dense, sums, pushes[0].copy(), _RATE, _EPSILON),
        "SGD, rows": lambda k: k.row_sgd(table, rows, gradient_ud, _RATE),
        "Adagrad, rows": lambda k: k.row_adagrad(table, states[_DIM], rows, gradient_ud, **adagrad),
        "row-wise Adagrad": lambda k: k.row_adagrad(table, states[1], rows, gradient_ud, **adagrad),
        "zeros out": lambda k: k.pack_zeros(pushes[0]),
        "zeros in": lambda k: k.unpack_zeros(kept, mask, parameters),
        "differences out": lambda k: k.pack_differences(old, new),
        "differences in": lambda k: k.unpack_differences(old, differences),
    }


def cpu_ms(work: Work, kernels: Kernels, turns: int) -> float:
    """Median of a work's CPU in this thread."""
    seconds = []
    for _ in range(turns):
        began = time.thread_time()
        work(kernels)
        seconds.append(time.thread_time() - began)
    return 1000 * median(seconds)


def main() -> None:
    """Prints a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=25)
    parser.add_argument("--parameters", type=int, default=_PARAMETERS)
    parser.add_argument("--rows", type=int, default=1_000_000)
    options = parser.parse_args()
    KERNEL_LIBRARY.build()
    library = KERNEL_LIBRARY.load()
    tried = [NumpyKernels(), *(NativeKernels(library, way) for way in ways_of(library))]
    lines = [
        f"| CPU, ms | {' | '.join(one.name for one in tried)} |",
        "|---" * (len(tried) + 1) + "|",
    ]
    for name, work in works(options.parameters, options.rows).items():
        times = [f"{cpu_ms(work, kernels, options.turns):.3f}" for kernels in tried]
        lines.append(f"| {name} | {' | '.join(times)} |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
