"""The sender's side of a start: its files, open or sealed, checked before the node joins."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from coterie.contract import Contract
from coterie.errors import ContractInvalid, StartRefused
from coterie.ps.warm_start.files import check_files
from coterie.ps.wire import ps_pb2 as pb
from coterie.ps.wire.bounds import PART_BYTES
from coterie.sealed.sealed_file import Seal, SealReader, set_of
from coterie.trained.optimizer_state import STATE_NAME
from coterie.trained.trained_model import MODEL_NAME


class StartFiles:
    """The model that a run goes on from, and its optimizers' state, in a folder.

    Args:
        contract: The run's contract, which has a start.
        folder: Holds ``model.coterie`` and ``optimizer.coterie``, or both sealed, as a run or one
            of its nodes left them.
        key_of: Fetches the key of sealed files by the id of their data set.
    """

    def __init__(self, contract: Contract, folder: Path, key_of: Callable[[bytes], bytes]) -> None:
        assert contract.start is not None
        self._contract = contract
        self._needs_state = contract.start.state_digest is not None
        self._folder = folder
        self._key_of = key_of
        self._keys: dict[bytes, bytes] = {}

    def check(self) -> None:
        """Reads and checks all files, as every shard will.

        Raises:
            StartRefused: A file is missing, not what the contract names, or does not fit it.
            ModelDamaged: One is cut or altered.
            SealBroken: A file is altered, or sealed under another key.
            KeyRefused: No key server gives the key.
        """
        state = self._pieces(STATE_NAME) if self._needs_state else None
        check_files(self._contract, self._pieces(MODEL_NAME), state, f"in {self._folder}")

    def parts(self, ps_incarnation: int) -> Iterator[pb.StartPart]:
        """The files as messages for one shard and incarnation of the server (0 on shard 0: any)."""
        yield pb.StartPart(offer=pb.StartOffer(ps_incarnation=ps_incarnation))
        for piece in self._pieces(MODEL_NAME):
            yield pb.StartPart(model=piece)
        if self._needs_state:
            for piece in self._pieces(STATE_NAME):
                yield pb.StartPart(optimizer_state=piece)

    def _pieces(self, name: str) -> Iterator[bytes]:
        plain, sealed = self._folder / name, self._folder / f"{name}.sealed"
        path = plain if plain.exists() or not sealed.exists() else sealed
        try:
            with path.open("rb") as file:
                source: BinaryIO | SealReader = file
                if path == sealed:
                    set_id = set_of(file, name)
                    under = Seal(self._key(set_id), set_id, name)
                    source = SealReader(file, os.fstat(file.fileno()).st_size, under)
                while piece := source.read(PART_BYTES):
                    yield piece
        except OSError as error:
            raise StartRefused(
                f"what the run starts from cannot be read: {path}",
                expected=f"{name}, or {name}.sealed, as a run left it",
                seen=error.strerror or type(error).__name__,
                remedy="name its folder with --start DIR",
            ) from error

    def _key(self, set_id: bytes) -> bytes:
        if set_id not in self._keys:
            self._keys[set_id] = self._key_of(set_id)
        return self._keys[set_id]


def check_named(contract: Contract, folder: Path | None) -> None:
    """Checks that a start's folder is given if, and only if, the contract has a start.

    Raises:
        ContractInvalid: One is given without the other.
    """
    if (folder is None) != (contract.start is None):
        raise ContractInvalid(
            f"contract {contract.name} "
            + ("has no start" if contract.start is None else "goes on from a model"),
            expected="no --start" if contract.start is None else "--start DIR: where it lies",
            seen="none" if folder is None else str(folder),
            remedy="give --start DIR for a contract with a section [start], and for no other",
        )


def no_start_given(node: str) -> StartRefused:
    """The error of a sender that was given no folder."""
    return StartRefused(
        f"node {node} gives the model that the run starts from, but was not told where it is",
        expected="the folder that a run or one of its nodes left",
        seen="none",
        remedy="give it with --start DIR; in an enclave's inputs it is the folder start",
    )
