"""The trained model on a foreign host, and its optimizers' state: sealed under a key of its party."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from coterie.errors import ModelDamaged, OutputInUse, SealBroken
from coterie.keys.data_key import DataKey
from coterie.keys.sealed_file import CHUNK_BYTES, Seal, SealReader, SealWriter, unseal
from coterie.parameters.model_file import Target
from coterie.parameters.optimizer_state import STATE_NAME, read_state
from coterie.parameters.trained_model import MODEL_NAME, TrainedModel, model_written

SEALED = ".sealed"
SEALED_MODEL_NAME = MODEL_NAME + SEALED


@dataclass(frozen=True)
class SealedModelFile:
    """Where a node keeps the trained model, or its optimizers' state, so that its host cannot read it.

    Attributes:
        path: The file.
        key: The party's, for its model.
        name: What the file is, in the set of the key's files.
    """

    path: Path
    key: DataKey
    name: str = MODEL_NAME

    @classmethod
    def in_folder(cls, folder: Path, name: str, key: DataKey) -> Self:
        """The sealed file of a name in a folder."""
        return cls(folder / (name + SEALED), key, name)

    @contextmanager
    def writing(self, size: int) -> Iterator[Target]:
        """Opens the file for so many bytes; it is there, whole, if the context ends well.

        Raises:
            OutputInUse: It cannot be written.
        """
        with model_written(self.path) as file:
            writer = SealWriter(file, size, _under(self.key, self.name))
            yield writer
            writer.finish()


def sealed_name(path: Path, key: DataKey) -> str:
    """What a sealed file is: ``model.coterie`` or ``optimizer.coterie``, whatever it is called here.

    Raises:
        SealBroken: Neither: it was altered at its beginning, or is sealed under another key.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            with suppress(SealBroken):
                SealReader(file, size, _under(key, STATE_NAME)).chunk(0)
                return STATE_NAME
            file.seek(0)
            SealReader(file, size, _under(key, MODEL_NAME)).chunk(0)
    except OSError as error:
        raise _unreadable(path, error) from error
    return MODEL_NAME


def seal_model(folder: Path, out: Path, key: DataKey) -> tuple[Path, ...]:
    """Seals a model, and its optimizers' state if that lies beside it; both are checked first.

    Args:
        folder: Holds ``model.coterie``, and perhaps ``optimizer.coterie``.
        out: A new folder for the sealed ones.
        key: The party's, for its model.

    Returns:
        What was written.

    Raises:
        ModelDamaged: A file is missing or damaged, or they are not of one model.
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
    """The content of a sealed model's file, in memory; or of its optimizers' state, by its name.

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
