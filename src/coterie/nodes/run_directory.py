"""The output directory of a run: one run per directory, resumed by the same contract only."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from pydantic import BaseModel, ConfigDict, ValidationError

from coterie.contract import Contract, canonical_json, contract_digest, contract_from_json
from coterie.errors import OutputInUse
from coterie.training.results import RunResult, TransportName

_STAMP = "run.json"
_CONTRACT = "contract.json"
_RESULT = "result.json"


class _Stamp(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: Literal[1] = 1
    given_contract_digest: str
    transport: TransportName


class RunDirectory:
    """A run's directory, locked by this process.

    Attributes:
        path: The directory.
        contract: The contract that its nodes run under: the given one, with throw-away keys for
            the parties that have none.
    """

    def __init__(self, path: Path, contract: Contract) -> None:
        self.path = path
        self.contract = contract

    @property
    def contract_file(self) -> Path:
        """The contract as the nodes read it."""
        return self.path / _CONTRACT

    def key_file(self, party: str) -> Path | None:
        """A party's throw-away key, where this run made one."""
        path = self._keys / f"{party}.pem"
        return path if path.exists() else None

    def node(self, name: str) -> Path:
        """A node's own folder."""
        path = self.path / "nodes" / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def result(self) -> RunResult | None:
        """The result, once the run has finished."""
        try:
            return RunResult.model_validate_json((self.path / _RESULT).read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise _in_use(self.path, "a result of this version", str(error.errors()[0])) from error

    def finish(self, result: RunResult) -> None:
        """Keeps the result and forgets the throw-away keys."""
        partial = self.path / (_RESULT + ".partial")
        partial.write_text(result.model_dump_json(indent=2) + "\n")
        partial.rename(self.path / _RESULT)
        for key in self._keys.glob("*.pem"):
            key.unlink()
        if self._keys.exists():
            self._keys.rmdir()

    @property
    def _keys(self) -> Path:
        return self.path / "keys"

    def create(self, given: Contract, transport: TransportName) -> None:
        """Makes keys for the parties that have none, and writes contract and stamp."""
        parties = []
        for party in given.parties:
            if party.key is not None:
                parties.append(party)
                continue
            self._keys.mkdir(mode=0o700, exist_ok=True)
            key = Ed25519PrivateKey.generate()
            descriptor = os.open(
                self._keys / f"{party.name}.pem", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600
            )
            with os.fdopen(descriptor, "wb") as file:
                file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
            public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
            parties.append(party.model_copy(update={"key": f"ed25519:{public.hex()}"}))
        self.contract = given.model_copy(update={"parties": tuple(parties)})
        self.contract_file.write_bytes(canonical_json(self.contract))
        stamp = _Stamp(given_contract_digest=contract_digest(given).hex(), transport=transport)
        (self.path / _STAMP).write_text(stamp.model_dump_json() + "\n")


@contextmanager
def open_run_directory(
    path: Path, contract: Contract, transport: TransportName
) -> Iterator[RunDirectory]:
    """Opens a new run's directory, or that of an interrupted or finished one of the same contract.

    Args:
        path: The directory; made if absent.
        contract: As the user gave it.
        transport: Name of the transport; a run does not change it.

    Raises:
        OutputInUse: The directory holds something else, or another process uses it.
    """
    path.mkdir(parents=True, exist_ok=True)
    with (path / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _in_use(path, "no other process", "one that is running") from error
        directory = RunDirectory(path, contract)
        if (path / _STAMP).exists():
            _check_stamp(path, contract, transport)
            directory.contract = contract_from_json(
                directory.contract_file.read_bytes(), str(directory.contract_file)
            )
        else:
            others = sorted(
                p.name for p in path.iterdir() if p.name not in {".lock", "keys", _CONTRACT}
            )
            if others:
                raise _in_use(path, "an empty directory", ", ".join(others[:5]))
            for key in (path / "keys").glob("*.pem"):
                key.unlink()
            directory.create(contract, transport)
        yield directory


def _check_stamp(path: Path, contract: Contract, transport: TransportName) -> None:
    try:
        stamp = _Stamp.model_validate_json((path / _STAMP).read_bytes())
    except ValidationError as error:
        raise _in_use(path, "a run of this version", "an unreadable run.json") from error
    expected = (contract_digest(contract).hex(), transport)
    seen = (stamp.given_contract_digest, stamp.transport)
    if seen != expected:
        raise _in_use(
            path,
            f"contract {expected[0][:16]} over {expected[1]}",
            f"contract {seen[0][:16]} over {seen[1]}",
        )


def _in_use(path: Path, expected: str, seen: str) -> OutputInUse:
    return OutputInUse(
        f"the output directory {path} holds something else",
        expected=expected,
        seen=seen,
        remedy="name another --out DIR; the same contract resumes its own run",
    )
