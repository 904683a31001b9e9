"""Prepares one data set per party from a raw file: parses, splits, deals, counts, writes.

Everything is built in a hidden folder inside the output directory and renamed into place at the
end, so a failure leaves nothing half-done. The same input gives the same bytes.

Needs, for N rows of n numeric and m categorical columns: 8 (1 + n + m) N bytes of disk for staging
while it runs, 4 (1 + n + m) N bytes for the data set, and memory of about 500 MB plus 24 bytes per
distinct id of the largest party's training rows.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from coterie.arrays import IdArray, UInt64Array
from coterie.contract import Contract, DataSection, data_digest
from coterie.data.example_files import ExampleFileWriter
from coterie.data.examples import pack_records
from coterie.data.hashing import rows_of_hashes
from coterie.data.manifest import MANIFEST_NAME, SPLITS, ExampleFile, Manifest, Source, Split
from coterie.data.prepare.compression import RawFile
from coterie.data.prepare.layout import Layout
from coterie.data.prepare.plausibility import Suspicions
from coterie.data.prepare.reader import CriteoReader
from coterie.data.prepare.staging import StagedRows, Staging, StagingWriter
from coterie.data.prepare.statistics import TrainingStatistics, among
from coterie.data.split import MINIMUM_ROWS, Deal, deal_rows, split_rows
from coterie.errors import DataSetMismatch, OutputInUse, RawDataInvalid
from coterie.files import move_new, sync, sync_folder, unwritable
from coterie.text import printable

Progress = Callable[[str, int, int], None]
"""Called with the stage's name, the amount done, and the whole amount."""


@dataclass(frozen=True)
class PrepareReport:
    """The result of a preparation.

    Attributes:
        directory: The output directory; party P's data set is in ``directory / P``.
        source: The raw file, as every manifest names it.
        manifests: One per party, in contract order.
        warnings: Unusual properties of the data, one sentence each
            (:mod:`coterie.data.prepare.plausibility`).
    """

    directory: Path
    source: Source
    manifests: tuple[Manifest, ...]
    warnings: tuple[str, ...] = ()


def _no_progress(_stage: str, _done: int, _total: int) -> None:
    pass


def prepare(
    raw: Path,
    out: Path,
    contract: Contract,
    *,
    deal: Deal = "contiguous",
    party: str | None = None,
    layout: Layout | None = None,
    max_bad_rows: int = 0,
    progress: Progress = _no_progress,
) -> PrepareReport:
    """Prepares the data sets of all data owners, or of one party from its own file.

    Args:
        raw: The raw file; plain, gzip, xz or Zstandard; in the Criteo format, or with a header that
            names the contract's columns (:mod:`coterie.data.prepare.layout`).
        out: Receives one folder per party; made if absent.
        contract: Columns, table sizes, hashing, ``min_count``, and who owns data.
        deal: How the rows of each split are dealt to the parties of a federated contract.
        party: Prepare this party's own file, of which all rows belong to it.
        layout: Known properties of the raw file.
        max_bad_rows: Bad rows that are skipped and reported at most.
        progress: Called from time to time.

    Raises:
        RawDataInvalid: The raw file has another format, is damaged, or is too short.
        DataSetMismatch: ``party`` owns no data under this contract.
        OutputInUse: A party's folder exists and is not empty.
        EnvironmentUnfit: The output cannot be written.
    """
    owners, data = _owners(contract, party), contract.data
    with _workspace(out, owners) as work:
        reader = CriteoReader(RawFile(raw), data, layout=layout, max_bad_rows=max_bad_rows)
        suspicions = Suspicions(contract)
        staging, source = _stage(reader, work, suspicions, data, progress)
        split = split_rows(source.rows)
        if len(split.train) < len(owners) or source.rows < MINIMUM_ROWS:
            raise RawDataInvalid(
                f"{raw} is too short",
                expected=f"at least {max(MINIMUM_ROWS, 2 * len(owners))} rows",
                seen=f"{source.rows} rows",
                remedy="give more rows; the split needs fourteen, and every party some to train on",
            )
        manifests = []
        for i, owner in enumerate(owners):
            shares = {name: deal_rows(split.part(name), deal, len(owners))[i] for name in SPLITS}
            builder = _Builder(work / owner, data, staging, progress)
            manifests.append(builder.build(owner, shares, source, deal if owners[1:] else "whole"))
        _install(work, out, owners)
    return PrepareReport(out, source, tuple(manifests), suspicions.told(manifests))


def _owners(contract: Contract, party: str | None) -> list[str]:
    owners = [node.party for node in contract.data_owners()]
    if party is None:
        return owners
    if party not in owners:
        what = f"party {party} owns no data under contract {contract.name}"
        remedy = "name the party of a worker (mode hfl) or of the chief (mode sdt)"
        raise DataSetMismatch.unknown(what, party, owners, remedy)
    return [party]


def _refuse_used(out: Path, owners: list[str]) -> None:
    for owner in owners:
        folder = out / owner
        if folder.is_symlink() or (folder.exists() and (folder.is_file() or any(folder.iterdir()))):
            raise OutputInUse(
                f"{folder} already holds something",
                expected="no folder, or an empty one",
                seen="an existing data set or other files",
            )


@contextlib.contextmanager
def _workspace(out: Path, owners: list[str]) -> Iterator[Path]:
    """A hidden folder in ``out`` that vanishes, and ``out`` with it if it was made for nothing."""
    try:
        _refuse_used(out, owners)
        existed = out.is_dir()
        out.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".prepare-", dir=out))
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)
            if not existed and not any(out.iterdir()):
                out.rmdir()
    except OSError as error:
        raise unwritable(f"the output directory {out}", error) from error


def _stage(
    reader: CriteoReader,
    work: Path,
    suspicions: Suspicions,
    data: DataSection,
    progress: Progress,
) -> tuple[Staging, Source]:
    raw, path = reader.raw, work / "staging"
    with path.open("wb") as file:
        writer = StagingWriter(file, data)
        for rows in reader.rows():
            writer.append(rows)
            suspicions.look(rows)
            progress("read", raw.consumed, raw.size)
    source = Source(
        name=printable(Path(raw.name).name, None),
        sha256=raw.sha256,
        rows=writer.rows,
        bad_rows=reader.bad.count,
        bad_lines=tuple(reader.bad.lines),
    )
    if not writer.rows:
        raise RawDataInvalid(
            f"{raw.name} has no rows",
            expected=f"at least {MINIMUM_ROWS} rows",
            seen="a header alone",
            remedy="check the path",
        )
    return Staging(path, data), source


class _Builder:
    """Builds one party's folder."""

    def __init__(
        self, folder: Path, data: DataSection, staging: Staging, progress: Progress
    ) -> None:
        self._folder = folder
        self._data = data
        self._staging = staging
        self._progress = progress

    def build(
        self,
        party: str,
        shares: dict[Split, range],
        source: Source,
        deal: Deal | Literal["whole"],
    ) -> Manifest:
        self._folder.mkdir()
        total, done = len(shares["train"]) + sum(map(len, shares.values())), 0
        statistics = TrainingStatistics(self._data)
        for rows in self._staging.read(shares["train"]):
            statistics.add(rows)
            done += len(rows.labels_b)
            self._progress(f"write {party}", done, total)
        frequent = statistics.frequent_hashes() if self._data.min_count > 1 else None
        entries = {}
        for split in SPLITS:
            file = f"{split}.shard"
            with (self._folder / file).open("xb") as target:
                writer = ExampleFileWriter(target, self._data, len(shares[split]))
                for rows in self._staging.read(shares[split]):
                    ids = self._global_rows(rows, frequent if split == "train" else None)
                    labels, dense = rows.labels_b.astype(np.float32), rows.dense(self._data)
                    writer.append(pack_records(labels, dense, ids))
                    done += len(ids)
                    self._progress(f"write {party}", done, total)
                digest = writer.finish()
            entries[split] = ExampleFile(
                file=file, sha256=digest, rows=len(shares[split]), positives=writer.positives
            )
        manifest = Manifest(
            format=1,
            party=party,
            data_digest=data_digest(self._data).hex(),
            deal=deal,
            source=source,
            train=entries["train"],
            validation=entries["validation"],
            test=entries["test"],
            numeric=statistics.numeric(),
            categorical=statistics.categorical(),
        )
        with (self._folder / MANIFEST_NAME).open("xb") as target:
            target.write(manifest.to_bytes())
            sync(target)
        sync_folder(self._folder)
        return manifest

    def _global_rows(self, rows: StagedRows, frequent: list[UInt64Array] | None) -> IdArray:
        ids = np.empty(rows.hashes_bm.shape, np.int32)
        columns = zip(self._data.column_offsets, self._data.table_rows, strict=True)
        for i, (offset, table_rows) in enumerate(columns):
            hashes = rows.hashes_bm[:, i]
            ids[:, i] = rows_of_hashes(hashes, table_rows)
            if frequent is not None:
                ids[~among(hashes, frequent[i]), i] = 0
            ids[:, i] += offset
        return ids


def _install(work: Path, out: Path, owners: list[str]) -> None:
    """Renames the finished folders into place: all of them, or none."""
    installed: list[Path] = []
    try:
        for owner in owners:
            _refuse_used(out, [owner])
            move_new(work / owner, out / owner)
            installed.append(out / owner)
        sync_folder(out)
    except BaseException:
        for folder in installed:
            shutil.rmtree(folder, ignore_errors=True)
        raise
