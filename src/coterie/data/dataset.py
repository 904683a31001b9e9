"""A party's prepared data set: a manifest and three files of examples, verified when opened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from coterie.contract import DataSection
from coterie.data.example_files import damaged, open_examples
from coterie.data.examples import Examples
from coterie.data.manifest import Manifest, Split, read_manifest


@dataclass(frozen=True)
class DataSet:
    """A verified data set.

    Attributes:
        manifest: Its manifest.
        train: Training examples, rare ids replaced by the out-of-vocabulary row.
        validation: Validation examples; every id has its own row.
        test: Test examples; likewise.
    """

    manifest: Manifest
    train: Examples
    validation: Examples
    test: Examples


def open_dataset(directory: Path, data: DataSection, *, party: str) -> DataSet:
    """Opens and verifies what ``coterie prepare`` wrote.

    Args:
        directory: The party's own folder, ``OUT/<party>``.
        data: The contract's data section.
        party: The party that opens it.

    Raises:
        DataSetDamaged: A file is missing, truncated, altered, or contradicts the manifest.
        DataSetMismatch: Prepared under another data section, or for another party.
    """
    return assemble_dataset(
        read_manifest(directory, data, party=party),
        directory,
        lambda path, digest: open_examples(path, data, expected_digest=digest),
    )


def assemble_dataset(
    manifest: Manifest, directory: Path, opener: Callable[[Path, bytes], Examples]
) -> DataSet:
    """Opens the files that a manifest lists.

    Args:
        manifest: The manifest, checked.
        directory: The directory of its files.
        opener: Opens and checks a file, given its path and SHA-256.

    Raises:
        DataSetDamaged: A file has another number of examples, or the opener refuses it.
    """

    def opened(split: Split) -> Examples:
        entry = manifest.entry(split)
        path = directory / entry.file
        opened = opener(path, bytes.fromhex(entry.sha256))
        if opened.rows != entry.rows:
            raise damaged(path, "row count", str(entry.rows), str(opened.rows))
        return opened

    return DataSet(manifest, opened("train"), opened("validation"), opened("test"))
