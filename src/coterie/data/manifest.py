"""The manifest of a prepared data set: its source, its parts, and its files' digests."""

from __future__ import annotations

import hmac
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from coterie.contract import DataSection, data_digest
from coterie.data.example_files import damaged
from coterie.errors import DataSetDamaged, DataSetMismatch
from coterie.files import read_bounded

MANIFEST_NAME = "manifest.json"
MAX_MANIFEST_BYTES = 1 << 24

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
Count = Annotated[int, Field(ge=0, lt=2**63)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Share = Annotated[float, Field(ge=0, le=1)]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Source(_Record):
    """The raw file of a data set.

    Attributes:
        name: Its name, without folders.
        sha256: SHA-256 of the file as it is, compressed or not.
        rows: Good rows that were read from it, before any dealing.
        bad_rows: Rows that were skipped.
        bad_lines: 1-based line numbers of the first of them, with reasons.
    """

    name: str
    sha256: Digest
    rows: Count
    bad_rows: Count
    bad_lines: Annotated[tuple[str, ...], Field(strict=False, max_length=100)]


class ExampleFile(_Record):
    """One file of examples.

    Attributes:
        file: Its name beside the manifest.
        sha256: SHA-256 of the whole file.
        rows: Its examples.
        positives: Examples with label 1.
    """

    file: Annotated[str, Field(pattern=r"^[a-z]+\.shard$")]
    sha256: Digest
    rows: Count
    positives: Count


class NumericColumn(_Record):
    """Statistics of a numeric column over the training rows; missing cells left out.

    Numbers are as in the raw file; of decimal columns in units of the last place that is kept.

    Attributes:
        name: The column.
        minimum: Smallest value, or None where all are missing.
        maximum: Largest value, or None.
        mean: Mean, or None.
        missing: Missing cells.
        negative: Negative cells, which became 0.
    """

    name: str
    minimum: int | None
    maximum: int | None
    mean: float | None
    missing: Count
    negative: Count


class CategoricalColumn(_Record):
    """Statistics of a categorical column over the training rows.

    Attributes:
        name: The column.
        unique: Distinct ids, the empty id of missing cells among them.
        missing: Missing cells.
        rare_ids: Distinct ids that occur fewer than ``min_count`` times.
        rare_share: Share of the cells that hold one and so train the out-of-vocabulary row.
    """

    name: str
    unique: Count
    missing: Count
    rare_ids: Count
    rare_share: Share


class Manifest(_Record):
    """The description of a party's prepared data set.

    Attributes:
        format: Version of this format.
        party: The owner of the data.
        data_digest: Digest of the contract's data section.
        deal: How the raw file was dealt: to several parties, or ``whole`` to this one.
        source: The raw file.
        train: The training part.
        validation: The validation part.
        test: The test part.
        numeric: Numeric columns, in contract order.
        categorical: Categorical columns, in contract order.
    """

    format: Literal[1]
    party: str
    data_digest: Digest
    deal: Literal["whole", "contiguous", "round-robin"]
    source: Source
    train: ExampleFile
    validation: ExampleFile
    test: ExampleFile
    numeric: Annotated[tuple[NumericColumn, ...], Field(strict=False)]
    categorical: Annotated[tuple[CategoricalColumn, ...], Field(strict=False)]

    def entry(self, split: Split) -> ExampleFile:
        """The entry of one split."""
        entries: dict[Split, ExampleFile] = {
            "train": self.train,
            "validation": self.validation,
            "test": self.test,
        }
        return entries[split]

    def to_bytes(self) -> bytes:
        """The manifest file: indented JSON, UTF-8, the same bytes for the same manifest."""
        return (self.model_dump_json(indent=1) + "\n").encode()


def read_manifest(directory: Path, data: DataSection, *, party: str) -> Manifest:
    """Reads a party's manifest and checks that it belongs to this contract and party.

    Args:
        directory: The party's data directory.
        data: The contract's data section.
        party: The party that is about to open it.

    Raises:
        DataSetDamaged: The manifest is missing, too large, or not a manifest.
        DataSetMismatch: Prepared under another data section, or another party's.
    """
    path = directory / MANIFEST_NAME
    return check_manifest(_read(path, party), path, data, party=party)


def party_of(directory: Path) -> str:
    """The party that a directory's manifest names; nothing else is checked.

    Raises:
        DataSetDamaged: The manifest is missing, too large, or not a manifest.
    """
    path = directory / MANIFEST_NAME
    return _parse(_read(path), path).party


def _read(path: Path, party: str = "") -> bytes:
    try:
        text = read_bounded(path, MAX_MANIFEST_BYTES)
    except (FileNotFoundError, NotADirectoryError) as error:
        remedy = "check the path; or prepare the data: coterie prepare RAW OUT --contract C"
        if party and (path.parent / party / path.name).exists():
            remedy = _own_folder(path.parent, party)
        elif party and (path.parent.parent / path.name).exists():
            remedy = _own_folder(path.parent.parent.parent, party)
        raise DataSetDamaged(
            f"{path.parent} holds no prepared data set",
            expected=f"{path.name}, as `coterie prepare` writes it",
            seen="no such file",
            remedy=remedy,
        ) from error
    except OSError as error:
        raise damaged(
            path, "file", "a prepared data set", error.strerror or type(error).__name__
        ) from error
    if len(text) > MAX_MANIFEST_BYTES:
        raise damaged(path, "size", f"at most {MAX_MANIFEST_BYTES} bytes", "more")
    return text


def check_manifest(text: bytes, path: Path, data: DataSection, *, party: str) -> Manifest:
    """Checks a manifest's content, as ``read_manifest`` does.

    Args:
        text: The manifest file.
        path: Its path, for errors.
        data: The contract's data section.
        party: The party that is about to open it.

    Raises:
        DataSetDamaged: It is not a manifest.
        DataSetMismatch: Prepared under another data section, or another party's.
    """
    manifest = _parse(text, path)
    seen = bytes.fromhex(manifest.data_digest)
    if not hmac.compare_digest(seen, data_digest(data)):
        raise DataSetMismatch.other_section(str(path), data_digest(data), seen)
    if manifest.party != party:
        raise DataSetMismatch(
            f"{path} is the data set of another party",
            expected=f"party {party}",
            seen=f"party {manifest.party}",
            remedy=_own_folder(path.parent.parent, party),
        )
    return manifest


def _own_folder(folder: Path, party: str) -> str:
    """A hint at the folder of the party's own data set, if one is found."""
    own = folder / party
    if (own / MANIFEST_NAME).exists():
        return f"a node of {party} gets --data {own}; a whole run gets --data {folder}"
    return f"give the data set that was prepared for {party}, or prepare one"


def _parse(text: bytes, path: Path) -> Manifest:
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(str(part) for part in problem["loc"])
        raise damaged(
            path, "content", "a manifest of format 1", f"{key}: {problem['msg']}"
        ) from error
