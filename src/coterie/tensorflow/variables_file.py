"""The file of a program's variables at a worker, open or sealed for the worker's party.

Servers of a cluster that several parties share run no operation that opens a file. So a worker that
has a folder keeps the variables, as NumPy's ``.npz`` without pickled objects, under the same rule as a
trained model: sealed unless its party's key server allows otherwise.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from coterie.arrays import Float64Array, FloatArray, IdArray, Int64Array
from coterie.contract import Node
from coterie.errors import CheckpointDamaged, EnvironmentUnfit, reason
from coterie.nodes.fabric import ModelKeeper
from coterie.sealed.data_key import DataKey
from coterie.sealed.sealed_model import VARIABLES_NAME, SealedModelFile, open_sealed_model
from coterie.trained.trained_model import PlainModelFile

Value = FloatArray | Float64Array | IdArray | Int64Array
Variables = Mapping[str, Value]

_own: Callable[[], VariablesFile] | None = None


class VariablesFile:
    """A node's file of variables.

    Args:
        folder: The node's folder.
        node: The node.
        key: Id and key of its party's sealed models, 32 bytes each; None: the file may be open.
    """

    def __init__(self, folder: Path, node: Node, key: tuple[bytes, bytes] | None) -> None:
        self._key = None if key is None else DataKey(node.party, *key)
        self._keeper: ModelKeeper = (
            PlainModelFile(folder / VARIABLES_NAME)
            if self._key is None
            else SealedModelFile.in_folder(folder, VARIABLES_NAME, self._key)
        )

    def write(self, variables: Variables) -> None:
        """Replaces the file, durably and at once.

        Raises:
            OutputInUse: It cannot be written.
        """
        octets = io.BytesIO()
        np.savez(octets, allow_pickle=False, **variables)
        content = octets.getvalue()
        with self._keeper.writing(len(content)) as target:
            target.write(content)

    def read(self) -> dict[str, Value] | None:
        """The variables; None if there is no file yet.

        Raises:
            SealBroken: The sealed file was altered, or is sealed under another key.
            CheckpointDamaged: The open file cannot be read, or holds something else.
        """
        path = self._keeper.path
        if not path.exists():
            return None
        if self._key is None:
            with path.open("rb") as source:
                return _parsed(source, path)
        octets = open_sealed_model(path, self._key, VARIABLES_NAME)
        return _parsed(io.BytesIO(octets), path)


def _parsed(source: BinaryIO, path: Path) -> dict[str, Value]:
    try:
        with np.load(source, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise CheckpointDamaged(
            f"the variables in {path} cannot be read",
            expected="what a worker's checkpoint hook wrote",
            seen=reason(error),
            remedy="remove the file to begin anew, or put a copy of it back",
        ) from error


def give_file(opened: Callable[[], VariablesFile]) -> None:
    """Gives this process its file.

    Args:
        opened: Opens it; called if the program asks for it, since a party's key server may give no
            key to nodes that keep nothing.
    """
    global _own  # noqa: PLW0603 (the program runs in the node's process, and knows no node)
    _own = opened


def own_file() -> VariablesFile:
    """Opens the file of the node that runs in this process.

    Raises:
        EnvironmentUnfit: The process is no node, or has no folder.
        KeyRefused: The party's key server gives no key for it.
    """
    if _own is None:
        raise EnvironmentUnfit(
            "this program has no place for its variables",
            expected="a node of coterie tensorflow with a folder",
            seen="no folder",
            remedy="start it with coterie tensorflow run --out DIR, or coterie tensorflow node --out DIR",
        )
    return _own()
