"""The experiment's data: counts a raw file's rows, and prepares them for every case."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from coterie.contract import DataSection
from coterie.data.dataset import open_dataset
from coterie.data.examples import PIECE_ROWS, Examples
from coterie.data.manifest import SPLITS, Split
from coterie.data.prepare.compression import RawFile
from coterie.data.prepare.preparation import PrepareReport, prepare
from coterie.data.prepare.reader import CriteoReader
from coterie.data.split import Deal
from coterie.errors import RawDataInvalid
from coterie.files import make_folder, writing
from coterie.paper.plan import SETTINGS, Case, contract_of, table_rows
from coterie.paper.results import DataUsed

LEAST_ROWS = 2_000


def count_rows(raw: Path, limit: int) -> int:
    """Counts the rows of a raw file, and so reads all of it before anything is written or run.

    Args:
        raw: The file.
        limit: Rows that are used at most.

    Raises:
        RawDataInvalid: It is not in Criteo's format, or too short.
    """
    reader = CriteoReader(RawFile(raw), DataSection(row_limit=limit))
    count = sum(len(rows.labels_b) for rows in reader.rows())
    if count < LEAST_ROWS:
        raise RawDataInvalid(
            f"{raw} is too short for the experiment",
            expected=f"at least {LEAST_ROWS:,} rows: four companies train and test on them",
            seen=f"{count:,} rows",
            remedy="give more rows, or no --data for synthetic ones",
        )
    return count


class PreparedData:
    """A raw file, prepared for cases.

    Args:
        raw: The file.
        rows: Rows of it that are used.
        out: Gets the data sets.
        say: Hears what is done.

    Attributes:
        rows: As above.
        tables: Rows of each embedding table.
    """

    def __init__(self, raw: Path, rows: int, out: Path, say: Callable[[str], None]) -> None:
        self.rows, self.tables = rows, table_rows(rows)
        self._raw, self._out, self._say = raw, out, say
        self._reports: dict[Path, PrepareReport] = {}

    def add(self, case: Case) -> None:
        """Prepares a case's data, unless another case has the same."""
        folder = self.folder(case)
        if folder in self._reports:
            return
        self._say(f"preparing {folder.name}: {self.rows:,} rows")
        contract = contract_of(case, rows=self.rows, tables=self.tables)
        deal: Deal = "round-robin" if case.scheme == "hfl" else "contiguous"
        report = prepare(self._raw, folder, contract, deal=deal)
        self._reports[folder] = report
        for manifest in report.manifests:
            own = open_dataset(folder / manifest.party, contract.data, party=manifest.party)
            for split, part in zip(SPLITS, (own.train, own.validation, own.test), strict=True):
                write_records(part, self.records(case, manifest.party)[split])

    def folder(self, case: Case) -> Path:
        """A folder with one data set for each party that owns data."""
        rare = SETTINGS[case.setting].min_count[case.scheme]
        return self._out / f"{case.scheme}-min-count-{rare}"

    def records(self, case: Case, party: str) -> dict[Split, Path]:
        """A party's examples as plain records."""
        folder = self.folder(case)
        own = folder.with_name(f"{folder.name}-records").resolve() / party
        return {split: own / split for split in SPLITS}

    def examples(self, case: Case) -> int:
        """Training examples of all parties."""
        return sum(one.train.rows for one in self._reports[self.folder(case)].manifests)

    def used(self, case: Case, *, synthetic: bool) -> DataUsed:
        """The rows of a case, which are the same for all."""
        report = self._reports[self.folder(case)]
        return DataUsed(
            name=report.source.name,
            sha256=report.source.sha256,
            synthetic=synthetic,
            rows=report.source.rows,
            train=self.examples(case),
            test=sum(one.test.rows for one in report.manifests),
        )


def write_records(part: Examples, path: Path) -> None:
    """Writes examples as plain records, which is how an unattested program gets them.

    Raises:
        EnvironmentUnfit: The file cannot be written.
        DataSetDamaged: The examples have changed since they were checked.
    """
    with writing(path):
        make_folder(path.parent)
        with path.open("xb") as file:
            for start in range(0, part.rows, PIECE_ROWS):
                file.write(part.records(start, min(start + PIECE_ROWS, part.rows)))
