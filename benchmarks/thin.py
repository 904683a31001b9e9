"""Thin and long lines: what each form of the exchange, and how many local steps, are worth there.

Four companies, each behind a line of 20 Mbit/s and 20 ms each way (a round trip takes 40 ms) of its own. Their speed is
that of the first steps of an attested run through such lines. Quality and bytes do not depend on a line, so they are
those of a whole epoch in one process: the same model, bit for bit.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from benchmarks.comparing import Figures
from benchmarks.local_steps import RECIPES, Recipe, train, with_recipe
from benchmarks.quality.settings import before
from benchmarks.runs import BENCHMARK_NODE, Workshop
from benchmarks.thin_line import LineKind
from coterie.contract import Contract, load_contract
from coterie.data.dataset import DataSet, open_dataset
from coterie.data.prepare.compression import RawFile
from coterie.data.prepare.preparation import prepare
from coterie.data.prepare.synthetic import synthesize

# What a contract has in its section training for each form of the exchange.
EXCHANGES: Mapping[str, Recipe] = {
    "float32": {},
    "bfloat16": {"exchange": "bfloat16"},
    "int8": {"exchange": "int8"},
    "top-k, 10 %": {"exchange": "top-k", "exchange_share": 0.1},
    "top-k, 1 %": {"exchange": "top-k", "exchange_share": 0.01},
}
# By number of local steps: how they are done.
LOCAL_STEPS = {1: "1: Adagrad, row-wise for rows", 4: "4: the recipe", 16: "16: the recipe"}
LINE = LineKind(megabits=20, milliseconds=20)
_CONTRACT = Path(__file__).parents[1] / "examples" / "criteo-hfl.toml"
_SYNTHETIC_ROWS = 60_000
# How many go through the line.
_STEPS = {1: 16, 4: 12, 16: 6}
_EVALUATED = 1 / 7


class ThinLines:
    """Trains one sample in every way.

    Args:
        workshop: Runs Coterie.
        folder: For what is prepared.
        sample: A Criteo file, plain or compressed; absent: synthetic rows.
        contract: What they train but for the recipe; ``hfl``, with simulated TEEs.
    """

    def __init__(
        self,
        workshop: Workshop,
        folder: Path,
        sample: Path | None = None,
        contract: Contract | None = None,
    ) -> None:
        self._workshop, self._folder = workshop, folder
        self._contract = contract or before(load_contract(_CONTRACT))
        if sample is None:
            sample = folder / "synthetic.tsv"
            synthesize(sample, rows=_SYNTHETIC_ROWS, seed=5)
        self._sample = sample
        self._beginning = cache(self._cut)
        prepare(sample, folder / "whole", self._contract, deal="round-robin")
        self._sets: Mapping[str, DataSet] = {
            owner.party: open_dataset(
                folder / "whole" / owner.party, self._contract.data, party=owner.party
            )
            for owner in self._contract.data_owners()
        }

    def figures(self, exchange: str, local_steps: int) -> Figures:
        """What a form of the exchange, of ``EXCHANGES``, and a number of local steps give."""
        recipe = {**RECIPES[LOCAL_STEPS[local_steps]], **EXCHANGES[exchange]}
        contract = with_recipe(self._contract, recipe, seed=0)
        trained = train(contract, self._sets)
        measured = self._workshop.train(
            contract, self._beginning(local_steps), "ra-tls", (*BENCHMARK_NODE, "--line", str(LINE))
        )
        examples = len(self._sets) * contract.training.batch * local_steps
        return {
            "examples_per_second": 1000 * examples / measured.step_ms,
            "step_ms": measured.step_ms,
            "server_cpu_ms": measured.server_cpu_ms,
            "worker_cpu_ms": measured.worker_cpu_ms,
            "bytes_per_example": trained.bytes_per_example,
            "test_auc": trained.test.auc or 0.0,
            "test_log_loss": trained.test.log_loss or 0.0,
        }

    def _cut(self, local_steps: int) -> Path:
        """Data sets of the sample's first lines: as many as the steps through the line need."""
        batch = len(self._sets) * self._contract.training.batch * local_steps
        rows = int(batch * _STEPS[local_steps] / (1 - _EVALUATED)) + 1000
        lines = itertools.chain.from_iterable(_lines(RawFile(self._sample)))
        begun = self._folder / f"beginning-{local_steps}.tsv"
        with begun.open("wb") as file:
            file.writelines(itertools.islice(lines, rows))
        folder = self._folder / f"beginning-{local_steps}"
        prepare(begun, folder, self._contract, deal="round-robin")
        return folder


def _lines(raw: RawFile) -> Iterator[list[bytes]]:
    """Whole lines, those of a piece at a time."""
    rest = b""
    for piece in raw.pieces():
        *whole, rest = (rest + piece).splitlines(keepends=True)
        if rest.endswith(b"\n"):
            whole, rest = [*whole, rest], b""
        yield whole
    yield [rest] if rest else []
