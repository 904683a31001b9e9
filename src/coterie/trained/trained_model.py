"""A trained model in memory, or mapped from its file."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from coterie.arrays import BoolArray, FloatArray, IdArray, IntpArray
from coterie.contract import Contract
from coterie.errors import DataError, ModelDamaged, OutputInUse
from coterie.files import make_folder, written_aside
from coterie.parameters.initial import InitialRows
from coterie.trained.model_file import (
    HEADER_BYTES,
    TRAILER_BYTES,
    ModelWriter,
    Target,
    file_bytes,
)
from coterie.trained.model_reader import Contents, damaged, read_contents

MODEL_NAME = "model.coterie"


class TrainedModel:
    """A trained model: dense parameters, and the rows that were ever updated.

    Rows that were never updated share their column's out-of-vocabulary row, as they do in evaluation.

    Args:
        contents: The checked content of a model file.

    Attributes:
        contract: The contract that it was trained under.
        contract_digest: SHA-256 of the contract's original text; 32 bytes.
        steps: Updates applied.
        digest: The model's digest, as results and receipts name it; 32 bytes.
        dense: Dense parameters, float32 [P], in the order of
            ``contract.model.dense_parameters(contract.data)``.
        row_ids: Global rows that were ever updated, int32 [n], ascending.
        row_values: Their values, float32 [n, dim].
    """

    def __init__(self, contents: Contents) -> None:
        self.contract: Contract = contents.contract
        self.contract_digest = contents.contract_digest
        self._contract_text = contents.contract_text
        self.steps = contents.steps
        self.digest = contents.digest
        self.dense: FloatArray = contents.dense_p
        self.row_ids: IdArray = contents.row_ids
        self.row_values: FloatArray = contents.row_values
        self._initial = InitialRows(self.contract)

    @staticmethod
    def of(
        contract: Contract,
        steps: int,
        dense_p: FloatArray,
        row_ids: IdArray,
        row_values: FloatArray,
    ) -> TrainedModel:
        """Makes a model from arrays.

        Args:
            contract: The contract that it was trained under.
            steps: Updates applied.
            dense_p: Dense parameters, float32 [P].
            row_ids: Global rows that were ever updated, int32 [n], ascending.
            row_values: float32 [n, dim].

        Raises:
            ModelDamaged: The arrays do not fit this contract.
        """
        whole = _Memory()
        writer = ModelWriter(whole, contract, steps=steps, dense_p=dense_p, rows=row_ids.size)
        writer.append(row_ids, row_values)
        writer.finish()
        return TrainedModel(read_contents(whole.octets(), "in memory"))

    @staticmethod
    def read(path: Path) -> TrainedModel:
        """Maps a model file into memory and checks every byte.

        Args:
            path: A file that a node of a receiving party wrote.

        Raises:
            ModelDamaged: It cannot be read, is not a model, or any byte was altered.
        """
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size < HEADER_BYTES + TRAILER_BYTES:
                    raise damaged(str(path), "size", "a model file", f"{size} bytes")
                # Check the mapping, not the file: in an enclave the mapping is a copy, which the
                # host cannot change.
                mapped = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
        except OSError as error:
            raise ModelDamaged.unreadable(
                f"the model {path}",
                error,
                "a file that a run wrote",
                "check the path; a run leaves its model as model.coterie",
            ) from error
        return TrainedModel(read_contents(memoryview(mapped), str(path)))

    @staticmethod
    def from_bytes(octets: bytes | memoryview, name: str) -> TrainedModel:
        """Checks a model file in memory.

        Args:
            octets: The whole file.
            name: Its name in errors.

        Raises:
            ModelDamaged: It is not a model, or any byte was altered.
        """
        return TrainedModel(read_contents(memoryview(octets).toreadonly(), name))

    def write(self, path: Path) -> None:
        """Writes the model atomically; replaces an existing file.

        Raises:
            OutputInUse: It cannot be written.
        """
        with model_written(path) as file:
            rows = self.row_ids.size
            writer = ModelWriter(
                file,
                self.contract,
                steps=self.steps,
                dense_p=self.dense,
                rows=rows,
                text=self._contract_text,
            )
            writer.append(self.row_ids, self.row_values)
            writer.finish()

    @property
    def file_bytes(self) -> int:
        """Size of the model's file."""
        dim = self.contract.model.embedding_dim
        return file_bytes(len(self._contract_text), self.dense.size, self.row_ids.size, dim)

    def parameters(self) -> dict[str, FloatArray]:
        """The dense parameters by name, each in its shape; read-only views of ``dense``."""
        named: dict[str, FloatArray] = {}
        start = 0
        for parameter in self.contract.model.dense_parameters(self.contract.data):
            values = self.dense[start : start + parameter.size]
            named[parameter.name] = values.reshape(parameter.shape)
            start += parameter.size
        return named

    def trained(self, ids: IdArray) -> BoolArray:
        """Which global rows were ever updated, bool [n]."""
        return self._places(ids)[1]

    def rows(self, ids: IdArray) -> FloatArray:
        """Embedding rows as evaluation sees them.

        Args:
            ids: Global rows, int32 [n], in any order.

        Returns:
            float32 [n, dim], a copy. In place of a row that was never updated stands its column's
            out-of-vocabulary row, the column's first: trained, or with its initial values.

        Raises:
            DataError: A row is out of range.
        """
        ids = np.asarray(ids, np.int32)
        if ids.size and (ids.min() < 0 or ids.max() >= self.contract.data.total_rows):
            raise DataError(
                "a row was asked for that the model does not have",
                expected=f"global rows 0 .. {self.contract.data.total_rows - 1}",
                seen=f"{ids.min()} .. {ids.max()}",
                remedy="hash ids under the model's own contract",
            )
        places, trained = self._places(ids)
        values = np.empty((ids.size, self.contract.model.embedding_dim), np.float32)
        values[trained] = self.row_values[places[trained]]
        strange = np.flatnonzero(~trained)
        if strange.size:
            values[strange] = self._out_of_vocabulary(ids[strange])
        return values

    def _out_of_vocabulary(self, ids: IdArray) -> FloatArray:
        firsts, inverse = np.unique(self._initial.firsts(ids), return_inverse=True)
        places, trained = self._places(firsts)
        values = self._initial.of(firsts)
        values[trained] = self.row_values[places[trained]]
        return values[inverse]

    def _places(self, ids: IdArray) -> tuple[IntpArray, BoolArray]:
        """The places of rows in ``row_ids``, and whether each row is there."""
        places = np.searchsorted(self.row_ids, ids)
        if not self.row_ids.size:
            return places, np.zeros(np.shape(ids), np.bool_)
        found: BoolArray = self.row_ids[np.minimum(places, self.row_ids.size - 1)] == ids
        return places, found


@dataclass(frozen=True)
class PlainModelFile:
    """The plain, unsealed file of a trained model on its owner's machine.

    Attributes:
        path: The file.
    """

    path: Path

    @contextmanager
    def writing(self, _size: int) -> Iterator[Target]:
        """Opens the file for writing; it appears only if the context ends without an error.

        Raises:
            OutputInUse: It cannot be written.
        """
        with model_written(self.path) as file:
            yield file


@contextmanager
def model_written(path: Path) -> Iterator[BinaryIO]:
    """Opens a model's file for writing; it appears durably if the context ends without an error.

    Raises:
        OutputInUse: It cannot be written.
    """
    try:
        make_folder(path.parent)
        with written_aside(path) as file:
            yield file
    except OSError as error:
        raise OutputInUse.unwritable(f"the model {path}", error) from error


class _Memory:
    """A write target in memory."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, octets: bytes, /) -> None:
        self._parts.append(octets)

    def octets(self) -> memoryview:
        return memoryview(b"".join(self._parts))
