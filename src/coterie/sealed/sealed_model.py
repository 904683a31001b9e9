"""The trained model, its optimizers' state or a program's variables on another party's host, sealed for their party."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from coterie.errors import ModelDamaged, OutputInUse, SealBroken
from coterie.sealed.data_key import DataKey
from coterie.sealed.sealed_file import CHUNK_BYTES, Seal, SealReader, SealWriter, unseal
from coterie.trained.model_file import Target
from coterie.trained.optimizer_state import STATE_NAME, read_state
from coterie.trained.trained_model import MODEL_NAME, TrainedModel, model_written

SEALED = ".sealed"
SEALED_MODEL_NAME = MODEL_NAME + SEALED
VARIABLES_NAME = "variables.npz"


@dataclass(frozen=True)
class SealedModelFile:
    """The sealed file of the trained model or its optimizers' state; the host cannot read it.

    Attributes:
        path: The file.
        key: The party's key for its model.
        name: Name of the file in the key's set of files.
    """

    path: Path
    key: DataKey
    name: str = MODEL_NAME

    @classmethod
    def in_folder(cls, folder: Path, name: str, key: DataKey) -> Self:
        """The path of a sealed file in a folder."""
        return cls(folder / (name + SEALED), key, name)

    @contextmanager
    def writing(self, size: int) -> Iterator[Target]:
        """Opens the file for ``size`` bytes; it appears only if the context ends without an error.

        Raises:
            OutputInUse: It cannot be written.
        """
        with model_written(self.path) as file:
            writer = SealWriter(file, size, _under(self.key, self.name))
            yield writer
            writer.finish()


def sealed_name(path: Path, key: DataKey) -> str:
    """The name under which a file was sealed, whatever its path.

    Raises:
        SealBroken: It has none of the names; its beginning was altered, or it is sealed under another key.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            for name in (STATE_NAME, VARIABLES_NAME):
                with suppress(SealBroken):
                    SealReader(file, size, _under(key, name)).chunk(0)
                    return name
                file.seek(0)
            SealReader(file, size, _under(key, MODEL_NAME)).chunk(0)
    except OSError as error:
        raise _unreadable(path, error) from error
    return MODEL_NAME


def seal_model(folder: Path, out: Path, key: DataKey) -> tuple[Path, ...]:
    """Seals a model and, if present, its optimizers' state, after checking both.

    Args:
        folder: Holds ``model.coterie``, and perhaps ``optimizer.coterie``.
        out: A new folder for the sealed files.
        key: The party's key for its model.

    Returns:
        The written files.

    Raises:
        ModelDamaged: A file is missing or damaged, or they belong to different models.
        OutputInUse: The folder exists, or cannot be made.
    """
    model = TrainedModel.read(folder / MODEL_NAME)
    names = [MODEL_NAME]
    if (folder / STATE_NAME).exists():
        state = read_state(folder / STATE_NAME)
        if state.model != model.digest:
            what = f"the optimizer state in {folder} is of another model"
            remedy = "copy both files of one run"
            raise ModelDamaged.differs(what, "of model", model.digest, state.model, remedy)
        names.append(STATE_NAME)
    if out.exists():
        raise OutputInUse.exists(out)
    written = [SealedModelFile.in_folder(out, name, key) for name in names]
    for sealed in written:
        size = (folder / sealed.name).stat().st_size
        with (folder / sealed.name).open("rb") as source, sealed.writing(size) as target:
            while piece := source.read(CHUNK_BYTES):
                target.write(piece)
    return tuple(sealed.path for sealed in written)


def open_sealed_model(path: Path, key: DataKey, name: str = MODEL_NAME) -> memoryview:
    """Opens a sealed model's file, or that of its optimizers' state, into memory.

    Raises:
        SealBroken: It cannot be read, was altered or cut, or is sealed under another key.
    """
    try:
        with path.open("rb") as file:
            return unseal(file, os.fstat(file.fileno()).st_size, _under(key, name))
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> SealBroken:
    return SealBroken.unreadable(f"the sealed model {path}", error, "a file that a node wrote")


def _under(key: DataKey, name: str) -> Seal:
    return Seal(key.key, key.set_id, name)
