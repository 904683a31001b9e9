"""Trains a setting on part of the sample, and scores rows that were held out of it.

The test part chooses nothing. So that the validation part does not choose alone, there are two folds:

- ``rolling``: the sample without its last seventh, prepared as if that were all there is; both of its
  held-out parts are scored. They lie within the training part of the whole.
- ``validation``: the sample; its validation part is scored.

``test`` is the same model on the sample's test part, for the one table of the setting that was chosen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, get_args

import numpy as np

from benchmarks.quality.settings import Setting
from coterie.arrays import BoolArray, FloatArray, IdArray
from coterie.contract import Contract, Node, contract_digest, load_contract
from coterie.data.dataset import DataSet, open_dataset
from coterie.data.examples import Batch
from coterie.data.manifest import read_manifest
from coterie.data.prepare.preparation import prepare
from coterie.data.split import split_rows
from coterie.nodes.local import run_local
from coterie.runs.events import Event
from coterie.serving.scoring import Scorer
from coterie.trained.trained_model import PlainModelFile, TrainedModel

Fold = Literal["rolling", "validation", "test"]
Part = Literal["validation", "test"]
CHOOSING: Sequence[Fold] = ("rolling", "validation")

# So many rows per column that ids hardly ever share one: rows of such tables tell ids apart.
_WIDE_ROWS = 80_000_000


@dataclass(frozen=True, eq=False)
class Scored:
    """What a model says of held-out rows, all owners' one after the other.

    Attributes:
        labels: float32 [n], 0 or 1.
        logits: float32 [n], as evaluation, prediction and export give them.
        exact: float32 [n]: what they would be if every cell with a rare id had the
            out-of-vocabulary row. Rare: no owner saw the id ``min_count`` times in training.
        rare: Share of cells with a rare id.
        borrowed: Share of these that are scored with a row that other ids trained.
    """

    labels: FloatArray
    logits: FloatArray
    exact: FloatArray
    rare: float
    borrowed: float


@dataclass(frozen=True, eq=False)
class Trial:
    """One trained model.

    Attributes:
        parts: What it says of each held-out part.
        row_ids: Embedding rows that were trained, int32 [n].
        model_bytes: Size of its file.
    """

    parts: dict[Part, Scored]
    row_ids: IdArray
    model_bytes: int

    @classmethod
    def read(cls, path: Path) -> Trial:
        """Reads what ``write`` wrote."""
        with np.load(path) as kept:
            parts: dict[Part, Scored] = {}
            for part in get_args(Part):
                labels, logits, exact = (
                    kept[f"{part}_{name}"] for name in ("labels", "logits", "exact")
                )
                rare, borrowed = kept[f"{part}_shares"].tolist()
                parts[part] = Scored(labels, logits, exact, rare, borrowed)
            return cls(parts, kept["row_ids"], int(kept["model_bytes"]))

    def write(self, path: Path) -> None:
        """Writes a NumPy archive."""
        arrays = {"row_ids": self.row_ids, "model_bytes": np.array(self.model_bytes)}
        for part, scored in self.parts.items():
            arrays[f"{part}_labels"] = scored.labels
            arrays[f"{part}_logits"] = scored.logits
            arrays[f"{part}_exact"] = scored.exact
            arrays[f"{part}_shares"] = np.array([scored.rare, scored.borrowed])
        aside = path.with_suffix(".part")
        with aside.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # any names are arrays
        aside.rename(path)


class Bench:
    """Trains each setting once; what has been trained is kept, and read again.

    Args:
        sample: The raw file.
        example: The contract that settings change.
        folder: Keeps prepared data and trials.
    """

    def __init__(self, sample: Path, example: Path, folder: Path) -> None:
        self._sample = sample
        self._name = example.stem
        self._folder = folder
        self._example = load_contract(example)
        self.mode = self._example.mode
        self._wide = cache(self._rare_cells)

    def trial(self, setting: Setting, fold: Fold, seed: int) -> Trial:
        """Trains a setting, unless that was done before."""
        contract = self.contract(setting, fold, seed)
        kept = self._path(contract)
        if not kept.exists():
            self._score(contract, self._train(contract)).write(kept)
        return Trial.read(kept)

    def contract(self, setting: Setting, fold: Fold, seed: int) -> Contract:
        """What a trial trains under."""
        rows = self._rows
        rows = split_rows(rows).train.stop if fold == "rolling" else rows
        examples = split_rows(rows).train.stop
        return setting.apply(self._example, examples, seed=seed, row_limit=rows)

    def training_labels(self, setting: Setting, fold: Fold) -> Sequence[FloatArray]:
        """Labels of every owner's training rows, in order of time; float32 [n] each, 0 or 1."""
        contract = self.contract(setting, fold, 0)
        shards = [self._open(contract, owner).train for owner in self._owners]
        return [shard.batch(0, shard.rows).labels_b for shard in shards]

    def _path(self, contract: Contract) -> Path:
        return self._folder / f"{self._name}-{contract_digest(contract).hex()[:32]}.npz"

    @property
    def _rows(self) -> int:
        """Rows of the sample."""
        owner = self._example.data_owners()[0].party
        folder = self._prepared(self._example)
        return read_manifest(folder / owner, self._example.data, party=owner).source.rows

    def _prepared(self, contract: Contract) -> Path:
        data = contract.data
        out = self._folder / "-".join(
            str(part) for part in (self._name, data.rows, data.min_count, data.row_limit)
        )
        if not all((out / owner.party).exists() for owner in self._owners):
            prepare(self._sample, out, contract, deal="round-robin")
        return out

    def _open(self, contract: Contract, owner: Node) -> DataSet:
        folder = self._prepared(contract) / owner.party
        return open_dataset(folder, contract.data, party=owner.party)

    def _train(self, contract: Contract) -> TrainedModel:
        self._prepared(contract)  # here, not on all owners' threads at once
        with TemporaryDirectory(prefix="coterie-quality-") as folder:
            path = Path(folder, "model.coterie")
            run_local(
                contract,
                lambda owner: self._open(contract, owner),
                _ignore,
                keep_model=PlainModelFile(path),
            )
            return TrainedModel.read(path)

    def _score(self, contract: Contract, model: TrainedModel) -> Trial:
        scorer = Scorer(model)
        firsts_m = np.array(contract.data.column_offsets, np.int32)
        wide = self._wide(contract.data.min_count, contract.data.row_limit)
        parts: dict[Part, Scored] = {}
        for part in get_args(Part):
            batch = _joined(_held_out(self._open(contract, owner), part) for owner in self._owners)
            rare_bm = wide[part]
            exact = Batch(batch.labels_b, batch.dense_bn, np.where(rare_bm, firsts_m, batch.ids_bm))
            trained_bm = model.trained(batch.ids_bm.ravel()).reshape(rare_bm.shape)
            parts[part] = Scored(
                batch.labels_b,
                scorer.logits(batch),
                scorer.logits(exact),
                float(rare_bm.mean()),
                float(trained_bm[rare_bm].mean()),
            )
        return Trial(parts, model.row_ids, model.file_bytes)

    @property
    def _owners(self) -> tuple[Node, ...]:
        return self._example.data_owners()

    def _rare_cells(self, min_count: int, row_limit: int) -> dict[Part, BoolArray]:
        """Which cells of the held-out parts have a rare id; bool [n, m] each."""
        setting = Setting("wide", data={"rows": _WIDE_ROWS, "min_count": min_count})
        contract = setting.apply(self._example, 1, seed=0, row_limit=row_limit)
        opened = [self._open(contract, owner) for owner in self._owners]
        firsts = np.array(contract.data.column_offsets, np.int32)
        known = [s.train.batch(0, s.train.rows).ids_bm.ravel() for s in opened]
        ids = np.setdiff1d(np.concatenate(known), firsts)  # but not the out-of-vocabulary rows
        return {
            part: ~np.isin(_joined(_held_out(one, part) for one in opened).ids_bm, ids)
            for part in get_args(Part)
        }


def _held_out(data_set: DataSet, part: Part) -> Batch:
    shard = data_set.validation if part == "validation" else data_set.test
    return shard.batch(0, shard.rows)


def _joined(batches: Iterator[Batch]) -> Batch:
    several = list(batches)
    return Batch(
        np.concatenate([batch.labels_b for batch in several]),
        np.concatenate([batch.dense_bn for batch in several]),
        np.concatenate([batch.ids_bm for batch in several]),
    )


def _ignore(_event: Event) -> None:
    pass
