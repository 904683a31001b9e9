"""Embedding tables at real size: memory, start-up and step time of one parameter server shard.

No workers and no transport: the shard's own state, pushed and read as its service does it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from statistics import median

import numpy as np

from benchmarks.comparing import Figures
from benchmarks.machine import peak_memory_bytes
from benchmarks.peers.model import DIM, Batch, batches, say
from benchmarks.runs import Setup, contract_of
from coterie.ps.core.aggregation import Gradients, sum_gradients
from coterie.ps.core.state import ModelState

CRITEO_ROWS = 33_762_577
SMALL_ROWS = 1_000_000
_WORKERS, _BATCH, _STEPS = 4, 128, 60
_CHUNK_ROWS = 1 << 16


def table_figures() -> Figures:
    """Figures of the large table over those of a small one, measured in one process each."""
    found = {}
    for rows in (SMALL_ROWS, CRITEO_ROWS):
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.tables", "--rows", str(rows)],
            check=True,
            capture_output=True,
            text=True,
        )
        found[rows] = json.loads(done.stdout.splitlines()[-1])
    large, small = found[CRITEO_ROWS], found[SMALL_ROWS]
    return {
        "start_seconds": large["start_seconds"],
        "memory_over_state": large["memory_bytes"] / large["state_bytes"],
        "memory_beyond_1.15_state_mb": (large["memory_bytes"] - 1.15 * large["state_bytes"]) / 1e6,
        "step_ms": large["step_ms"],
        "step_over_small_table": large["step_ms"] / small["step_ms"],
    }


def main() -> None:
    """Measures one size; ``--rows``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=CRITEO_ROWS)
    rows = parser.parse_args().rows
    contract = contract_of(
        Setup("hfl", _WORKERS, _BATCH, rows=rows, steps=1, row_optimizer="rowwise_adagrad")
    )
    began = time.monotonic()
    state = ModelState(contract)
    started = time.monotonic() - began
    total = contract.data.total_rows
    for start in range(0, total, _CHUNK_ROWS):  # what a long run has touched in the end
        ids = np.arange(start, min(start + _CHUNK_ROWS, total), dtype=np.int32)
        state.table.apply(ids, np.ones((ids.size, DIM), np.float32), step=0, factor=1.0)
    made = [batches(_BATCH, rows, seed) for seed in range(_WORKERS)]
    seconds = [
        _step(state, [worker[turn % len(worker)] for worker in made]) for turn in range(_STEPS)
    ]
    say(
        {
            "rows": total,
            "start_seconds": started,
            "state_bytes": total * 4 * (DIM + 1),
            "memory_bytes": peak_memory_bytes(),
            "step_ms": 1000 * median(seconds[5:]),
        }
    )


def _step(state: ModelState, made: list[Batch]) -> float:
    """Sums and applies every worker's push, and reads what each asks for next."""
    pushes = [_push(state, batch) for batch in made]
    began = time.monotonic()
    gradients = sum_gradients(pushes, [1.0] * len(pushes))
    state.apply(gradients, first_of_epoch=False)
    for push in pushes:
        state.table.read(push.row_ids_u)
    return time.monotonic() - began


def _push(state: ModelState, batch: Batch) -> Gradients:
    ids = np.unique(batch.ids_bm)
    return Gradients(
        examples=_BATCH,
        loss_sum=1.0,
        dense_p=np.full(state.dense.size, 1e-3, np.float32),
        row_ids_u=ids,
        rows_ud=np.full((ids.size, DIM), 1e-3, np.float32),
    )


if __name__ == "__main__":
    main()
