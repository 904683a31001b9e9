"""What larger tables cost: memory of a parameter server that holds the rows that a trial trained."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.quality.runs import Bench
from benchmarks.quality.settings import Setting
from benchmarks.quality.tables import markdown
from coterie.contract import Contract, canonical_json, load_contract
from coterie.ps.core.table import RowTable

_CHUNK_ROWS = 1 << 10


def memory(bench: Bench, settings: Sequence[Setting]) -> str:
    """A table of what each setting's embedding table and its optimizer's state take."""
    rows = []
    for setting in settings:
        contract = bench.contract(setting, "validation", 0)
        trained = bench.trial(setting, "validation", 0).row_ids
        with TemporaryDirectory(prefix="coterie-quality-") as folder:
            agreed, ids = Path(folder, "contract.json"), Path(folder, "rows.npy")
            agreed.write_bytes(canonical_json(contract))
            np.save(ids, np.random.default_rng(0).permutation(trained))
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.quality.memory", str(agreed), str(ids)],
                check=True,
                capture_output=True,
                text=True,
            )
        found = json.loads(done.stdout)
        rows.append(
            [
                f"{contract.data.rows:,}",
                f"{found['reserved'] / 1e6:,.0f}",
                f"{found['touched'] / 1e6:,.0f}",
                f"{4 * contract.data.total_rows / 1e6:,.1f}",
            ]
        )
    head = ["rows per column", "table and state, address space, MB", "touched memory, MB"]
    return markdown([*head, "index of an export, MB"], rows)


def _measure(contract: Contract, ids: Path) -> dict[str, int]:
    rows = np.load(ids).astype(np.int32)
    before = _kilobytes("VmRSS:"), _kilobytes("VmSize:")
    table = RowTable(contract)
    for start in range(0, rows.size, _CHUNK_ROWS):
        part = np.sort(rows[start : start + _CHUNK_ROWS])
        table.apply(part, np.ones((part.size, table.dim), np.float32))
    after = _kilobytes("VmRSS:"), _kilobytes("VmSize:")
    return {"touched": 1024 * (after[0] - before[0]), "reserved": 1024 * (after[1] - before[1])}


def _kilobytes(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))


def main() -> None:
    """Measures one table, in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("contract", type=Path)
    parser.add_argument("rows", type=Path)
    options = parser.parse_args()
    sys.stdout.write(json.dumps(_measure(load_contract(options.contract), options.rows)) + "\n")


if __name__ == "__main__":
    main()
