"""The output directory of a run: one run per directory, resumed by the same contract only."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from coterie.contract import (
    Contract,
    canonical_json,
    contract_digest,
    differences,
    load_contract,
)
from coterie.contract.signatures import generate_party_key, public_key_text
from coterie.errors import ContractInvalid, ModelDamaged, OutputInUse, ResultUnreadable
from coterie.receipts import NAME as RECEIPT
from coterie.trained import MODEL_NAME, TrainedModel
from coterie.training.results import RunResult, TransportName

_STAMP = "run.json"
CONTRACT = "contract.json"
RESULT = "result.json"
_STAGING = "keys.partial"
_LOCK = ".lock"


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
        return self.path / CONTRACT

    def key_file(self, party: str) -> Path | None:
        """A party's throw-away key, where this run made one."""
        path = self._keys / f"{party}.pem"
        return path if path.exists() else None

    def node(self, name: str) -> Path:
        """A node's own folder."""
        path = self.path / "nodes" / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def keep_receipt(self, server: str) -> None:
        """Copies the receipt of the first server to where people look for it; if there is one."""
        kept = self.node(server) / RECEIPT
        if kept.exists():
            partial = self.path / (RECEIPT + ".partial")
            shutil.copyfile(kept, partial)
            partial.rename(self.path / RECEIPT)

    def result(self) -> RunResult | None:
        """The result, once the run has finished."""
        try:
            return RunResult.model_validate_json((self.path / RESULT).read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise _in_use(self.path, "a result of this version", str(error.errors()[0])) from error

    def finish(self, result: RunResult) -> None:
        """Keeps the model and the result, and forgets the throw-away keys.

        Raises:
            ModelDamaged: A node kept another model than the result names.
        """
        self._keep_model(result)
        write_result(self.path, result)
        for key in self._keys.glob("*.pem"):
            key.unlink()
        if self._keys.exists():
            self._keys.rmdir()

    def _keep_model(self, result: RunResult) -> None:
        """Puts the model at the run's top level too, if a node of the run got it."""
        for node in self.contract.model_recipients():
            source = self.node(node.name) / MODEL_NAME
            if not source.exists():
                continue
            digest = TrainedModel.read(source).digest.hex()
            if digest != result.model_digest:
                raise ModelDamaged(
                    f"{source} is another model than the run's result names",
                    expected=f"model {result.model_digest}",
                    seen=f"model {digest}",
                    remedy="start the run anew in another directory",
                )
            _link_or_copy(source, self.path / MODEL_NAME)
            return

    @property
    def _keys(self) -> Path:
        return self.path / "keys"

    def create(self, given: Contract, transport: TransportName) -> None:
        """Makes keys for the parties that have none, and writes contract and stamp.

        The stamp comes last: without it a directory counts as somebody else's.
        """
        staging = self.path / _STAGING
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(mode=0o700)
        parties = []
        for party in given.parties:
            if party.key is not None:
                parties.append(party)
                continue
            key = generate_party_key(staging / f"{party.name}.pem")
            parties.append(party.model_copy(update={"key": public_key_text(key)}))
        staging.rename(self._keys)
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
    _require_own_or_empty(path)
    with (path / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _in_use(path, "no other process", "one that is running") from error
        _require_own_or_empty(path)
        directory = RunDirectory(path, contract)
        if (path / _STAMP).exists():
            _check_stamp(path, contract, transport)
            directory.contract = _stored_contract(directory.contract_file, contract)
        else:
            directory.create(contract, transport)
        yield directory


def require_empty(path: Path) -> None:
    """Makes a directory if it is absent; refuses one that holds anything.

    Raises:
        OutputInUse: It does, or it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        names = sorted(entry.name for entry in path.iterdir())
    except OSError as error:
        raise _in_use(path, "an empty directory", error.strerror or "none") from error
    if names:
        raise _in_use(path, "an empty directory", ", ".join(names[:5]))


def read_result(directory: Path) -> RunResult:
    """Reads the result that a finished run left.

    Raises:
        ResultUnreadable: There is none, or it is of another version.
    """
    path = directory / RESULT
    try:
        return RunResult.model_validate_json(path.read_bytes())
    except OSError as error:
        seen = error.strerror or type(error).__name__
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        seen = f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
    raise ResultUnreadable(
        f"the result {path} cannot be read",
        expected="what a finished run of this version left",
        seen=seen,
        remedy="name the directory of a finished run; the same command again finishes one",
    )


def write_result(directory: Path, result: RunResult) -> None:
    """Keeps a run's result, whole or not at all."""
    partial = directory / (RESULT + ".partial")
    partial.write_text(result.model_dump_json(indent=2) + "\n")
    partial.rename(directory / RESULT)


def _link_or_copy(source: Path, target: Path) -> None:
    """Gives a file that does not change any more a second name, whole or not at all."""
    partial = target.with_name(target.name + ".partial")
    partial.unlink(missing_ok=True)
    try:
        partial.hardlink_to(source)
    except OSError:  # not every file system has links
        shutil.copyfile(source, partial)
    partial.rename(target)


def _require_own_or_empty(path: Path) -> None:
    """Makes the directory if it is absent; refuses one that holds anything else than a run."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        names = {entry.name for entry in path.iterdir()}
    except OSError as error:
        raise _in_use(path, "a directory, new or of this run", error.strerror or "none") from error
    others = names - {_LOCK, _STAGING}
    if others and _STAMP not in names:
        raise _in_use(path, "an empty directory", ", ".join(sorted(others)[:5]))


def _stored_contract(path: Path, given: Contract) -> Contract:
    """The contract that the run's nodes read: the given one, apart from throw-away keys."""
    try:
        stored = load_contract(path)
    except ContractInvalid as error:
        raise _in_use(path.parent, "the contract of this run", str(error)) from error
    keyless = {party.name for party in given.parties if party.key is None}
    stripped = stored.model_copy(
        update={
            "parties": tuple(
                party.model_copy(update={"key": None}) if party.name in keyless else party
                for party in stored.parties
            )
        }
    )
    if contract_digest(stripped) != contract_digest(given):
        difference = differences(canonical_json(given), canonical_json(stripped))
        raise _in_use(path.parent, "the contract of this run", "; ".join(difference)[:500])
    return stored


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
