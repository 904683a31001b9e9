"""A party's prepared data set: a manifest and three shards, all verified when it is opened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from coterie.contract import DataSection
from coterie.data.example_files import damaged, open_shard
from coterie.data.examples import Shard
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
    train: Shard
    validation: Shard
    test: Shard


def open_dataset(directory: Path, data: DataSection, *, party: str) -> DataSet:
    """Opens and verifies what ``coterie prepare`` wrote.

    Args:
        directory: The party's own folder, ``OUT/<party>``.
        data: The contract's data section.
        party: The party that opens it.

    Raises:
        ShardDamaged: A file is missing, truncated, altered, or contradicts the manifest.
        DataSetMismatch: Prepared under another data section, or for another party.
    """
    return assemble_dataset(
        read_manifest(directory, data, party=party),
        directory,
        lambda path, digest: open_shard(path, data, expected_digest=digest),
    )


def assemble_dataset(
    manifest: Manifest, directory: Path, opener: Callable[[Path, bytes], Shard]
) -> DataSet:
    """Opens the shards that a manifest lists.

    Args:
        manifest: The manifest, checked.
        directory: Where its shards lie.
        opener: Opens and checks a shard, given its path and SHA-256.

    Raises:
        ShardDamaged: A shard has another number of examples, or the opener refuses it.
    """

    def shard(split: Split) -> Shard:
        entry = manifest.shard(split)
        path = directory / entry.file
        opened = opener(path, bytes.fromhex(entry.sha256))
        if opened.rows != entry.rows:
            raise damaged(path, "row count", str(entry.rows), str(opened.rows))
        return opened

    return DataSet(manifest, shard("train"), shard("validation"), shard("test"))
