"""The trained model on a foreign host: sealed under a key that its party alone can open it with."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from coterie.errors import SealBroken
from coterie.sealing.chunks import Seal, SealWriter, unseal
from coterie.sealing.keys import DataKey
from coterie.trained.format import Target
from coterie.trained.model import MODEL_NAME, model_written

SEALED_MODEL_NAME = MODEL_NAME + ".sealed"


@dataclass(frozen=True)
class SealedModelFile:
    """Where a node keeps the trained model so that its host cannot read it.

    Attributes:
        path: The file.
        key: The party's, for its model.
    """

    path: Path
    key: DataKey

    @contextmanager
    def writing(self, size: int) -> Iterator[Target]:
        """Opens the file for so many bytes; it is there, whole, if the context ends well.

        Raises:
            OutputInUse: It cannot be written.
        """
        with model_written(self.path) as file:
            writer = SealWriter(file, size, _under(self.key))
            yield writer
            writer.finish()


def open_sealed_model(path: Path, key: DataKey) -> memoryview:
    """The content of a sealed model's file, in memory.

    Raises:
        SealBroken: It cannot be read, was altered or cut, or is sealed under another key.
    """
    try:
        with path.open("rb") as file:
            return unseal(file, os.fstat(file.fileno()).st_size, _under(key))
    except OSError as error:
        raise SealBroken(
            f"the sealed model {path} cannot be read",
            expected="a file that a node wrote",
            seen=error.strerror or type(error).__name__,
            remedy="check the path",
        ) from error


def _under(key: DataKey) -> Seal:
    return Seal(key.key, key.set_id, MODEL_NAME)
