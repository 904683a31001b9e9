"""A prepared data set with all files sealed, for storage on an untrusted disk."""

from __future__ import annotations

import hmac
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from coterie.contract import DataSection, data_digest
from coterie.data.dataset import DataSet, assemble_dataset, open_dataset
from coterie.data.example_files import check_examples
from coterie.data.manifest import MANIFEST_NAME, SPLITS, check_manifest
from coterie.errors import DataSetMismatch, OutputInUse, SealBroken
from coterie.files import made_new, read_bounded, write_whole
from coterie.sealed.data_key import DataKey
from coterie.sealed.sealed_file import Seal, seal, unseal

COVER_NAME = "sealed.json"
_MAX_COVER_BYTES = 4096
_Hex32 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Cover(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: Literal[1]
    party: Annotated[str, Field(max_length=63)]
    set_id: _Hex32
    data_digest: _Hex32


@dataclass(frozen=True)
class SealedDataSet:
    """The cover of a sealed data set; only a hint until the files were opened with the key.

    Attributes:
        directory: Its directory.
        party: The owner of the data.
        set_id: Id of the data set, 32 bytes, by which its key is requested.
        data_digest: Digest of the contract's data section that it was prepared under.
    """

    directory: Path
    party: str
    set_id: bytes
    data_digest: bytes

    @classmethod
    def at(cls, directory: Path) -> SealedDataSet | None:
        """The sealed data set in a directory; None if the directory holds none.

        Raises:
            SealBroken: Its cover cannot be read.
        """
        path = directory / COVER_NAME
        if not path.exists():
            return None
        try:
            cover = _Cover.model_validate_json(read_bounded(path, _MAX_COVER_BYTES))
        except (OSError, ValidationError) as error:
            raise SealBroken.unreadable(
                str(path), error, "the cover of a sealed data set"
            ) from error
        digest = bytes.fromhex(cover.data_digest)
        return cls(directory, cover.party, bytes.fromhex(cover.set_id), digest)


def seal_dataset(directory: Path, out: Path, data: DataSection, key: DataKey) -> SealedDataSet:
    """Seals a prepared data set after opening and checking it.

    Args:
        directory: The party's own prepared data set.
        out: A new directory for the sealed data set; removed if anything fails.
        data: The contract's data section.
        key: Key of the new set only.

    Raises:
        DataSetDamaged: The data set is damaged.
        DataSetMismatch: It belongs to another data section or party.
        OutputInUse: The directory exists or cannot be made.
    """
    found = open_dataset(directory, data, party=key.party)
    names = [MANIFEST_NAME, *(found.manifest.entry(split).file for split in SPLITS)]
    try:
        if out.exists():
            raise FileExistsError(None, "it exists", str(out))
        with made_new(out) as made:
            made.mkdir()
            for name in names:
                _seal_file(directory / name, made / f"{name}.sealed", _seal(key, name))
            cover = _Cover(
                format=1,
                party=key.party,
                set_id=key.set_id.hex(),
                data_digest=data_digest(data).hex(),
            )
            write_whole(made / COVER_NAME, cover.model_dump_json(indent=1).encode() + b"\n")
    except OSError as error:
        raise OutputInUse.unwritable(f"the sealed data set {out}", error) from error
    return SealedDataSet(out, key.party, key.set_id, data_digest(data))


def open_sealed_dataset(
    sealed: SealedDataSet, key: bytes, data: DataSection, *, party: str
) -> DataSet:
    """Opens a sealed data set into memory, and makes every check of ``open_dataset``.

    Args:
        sealed: The data set.
        key: Key of the set, 32 bytes.
        data: The contract's data section.
        party: The party that opens it.

    Raises:
        SealBroken: A file is missing, altered, cut, swapped, or sealed under another key.
        DataSetDamaged: The sealed content contradicts itself.
        DataSetMismatch: It was prepared under another data section, or for another party.
    """
    check_owner(sealed, data, party=party)
    under = DataKey(party, sealed.set_id, key)

    def opened(path: Path) -> memoryview:
        return _open_file(path.with_name(f"{path.name}.sealed"), _seal(under, path.name))

    path = sealed.directory / MANIFEST_NAME
    manifest = check_manifest(bytes(opened(path)), path, data, party=party)
    return assemble_dataset(
        manifest,
        sealed.directory,
        lambda path, digest: check_examples(opened(path), path, data, expected_digest=digest),
    )


def check_owner(sealed: SealedDataSet, data: DataSection, *, party: str) -> None:
    """Refuses a data set of another party or data section, before its key is requested.

    Raises:
        DataSetMismatch: It belongs to another party or data section.
    """
    if not hmac.compare_digest(sealed.data_digest, data_digest(data)):
        where = str(sealed.directory)
        raise DataSetMismatch.other_section(where, data_digest(data), sealed.data_digest)
    if sealed.party != party:
        raise DataSetMismatch(
            f"{sealed.directory} is the data set of another party",
            expected=f"party {party}",
            seen=f"party {sealed.party}",
            remedy=f"give --data the sealed data set of {party}",
        )


def _seal(key: DataKey, name: str) -> Seal:
    return Seal(key.key, key.set_id, name)


def _seal_file(source: Path, target: Path, under: Seal) -> None:
    with source.open("rb") as plain, target.open("xb") as sealed:
        seal(plain, os.fstat(plain.fileno()).st_size, sealed, under)


def _open_file(path: Path, under: Seal) -> memoryview:
    try:
        with path.open("rb") as file:
            return unseal(file, os.fstat(file.fileno()).st_size, under)
    except OSError as error:
        raise SealBroken.unreadable(str(path), error, "a file of a sealed data set") from error
