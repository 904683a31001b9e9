"""The output directory of a run. It holds one run, and only the same contract resumes it."""

from __future__ import annotations

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
from coterie.errors import ContractInvalid, CoterieError, ModelDamaged, OutputInUse, reason
from coterie.files import (
    LOCK,
    copy_whole,
    link_or_copy,
    make_folder,
    move_over,
    only_writer,
    read_bounded,
    sync_folder,
    unreadable,
    write_whole,
    writing,
)
from coterie.runs.result import RunResult, TransportName
from coterie.runs.result_file import RESULT, parse_result, write_result
from coterie.runs.run_files import CONTRACT, PARENTS, RECEIPT, parent_receipts
from coterie.trained.optimizer_state import STATE_NAME, read_state
from coterie.trained.trained_model import MODEL_NAME, TrainedModel

STAMP = "run.json"
_KEYS = "keys"
_MAX_STAMP_BYTES = 1 << 16
_RESUMED = "name another --out DIR; the same contract resumes its own run"
_PROGRAM = "name another --out DIR; only the same program and TensorFlow resume this run"
_NEW = "name another --out DIR, one that is new or empty"
_STAGING = "new.partial"  # while it exists, the files that were moved out of it are not yet a run


class _Stamp(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: Literal[1] = 1
    given_contract_digest: str
    transport: TransportName


class RunDirectory:
    """A run's directory, locked by this process.

    Attributes:
        path: The directory.
        contract: The contract that its nodes run under: the given one, with temporary keys for the
            parties that have none.
    """

    def __init__(self, path: Path, contract: Contract) -> None:
        self.path = path
        self.contract = contract

    @property
    def contract_file(self) -> Path:
        """The file from which the nodes read the contract."""
        return self.path / CONTRACT

    def key_file(self, party: str) -> Path | None:
        """The file of a party's temporary key, if this run made one."""
        path = self._keys / f"{party}.pem"
        return path if path.exists() else None

    def node(self, name: str) -> Path:
        """A node's own folder."""
        path = self.path / "nodes" / name
        with writing(f"the folder {path}"):
            make_folder(path)
        return path

    def keep_receipt(self, server: str, start: Path | None = None) -> None:
        """Copies the receipt of the first server, if there is one, to the run's top level.

        The receipts of earlier runs are copied with it, if the start's folder has them.
        """
        kept = self.node(server) / RECEIPT
        if not kept.exists():
            return
        with writing(self.path / RECEIPT):
            copy_whole(kept, self.path / RECEIPT)
        if start is None:
            return
        folder = self.path / PARENTS
        with writing(folder):
            make_folder(folder)
            before = parent_receipts(start / RECEIPT)
            for path in before:
                copy_whole(path, folder / path.name)
            if (start / RECEIPT).exists():
                copy_whole(start / RECEIPT, folder / f"{len(before):04d}.jsonl")

    def result(self) -> RunResult | None:
        """The result, once the run has finished."""
        try:
            return parse_result(self.path / RESULT)
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise _in_use(self.path, "a result of this version", str(error.errors()[0])) from error

    def finish(self, result: RunResult) -> None:
        """Keeps the model and the result, and deletes the temporary keys.

        Raises:
            ModelDamaged: A node kept another model than the result names.
            EnvironmentUnfit: The folder cannot be written.
        """
        self._keep_model(result)
        write_result(self.path, result)
        self.delete_keys()

    def delete_keys(self) -> None:
        """Deletes the temporary keys: the run has ended, and nobody shall vouch by them any more.

        Raises:
            EnvironmentUnfit: They cannot be deleted.
        """
        with writing(self._keys):
            if self._keys.exists():
                shutil.rmtree(self._keys)

    def check_unfinished(self) -> None:
        """Checks that no run of a TensorFlow cluster has ended here.

        Raises:
            OutputInUse: The directory has the receipt of such a run.
        """
        if (self.path / RECEIPT).exists():
            raise OutputInUse(
                f"{self.path} holds a run that has ended",
                expected="a new directory, or that of a run that has failed",
                seen=RECEIPT,
                remedy="name another directory",
            )

    def _keep_model(self, result: RunResult) -> None:
        """Copies the model to the run's top level, if a node of the run received it."""
        for node in self.contract.model_recipients():
            source = self.node(node.name) / MODEL_NAME
            if not source.exists():
                continue
            digest = TrainedModel.read(source).digest.hex()
            if digest != result.model_digest:
                raise _another(source, f"model {result.model_digest}", f"model {digest}")
            with writing(self.path / MODEL_NAME):
                link_or_copy(source, self.path / MODEL_NAME)
            self._keep_state(self.node(node.name) / STATE_NAME, result)
            return

    def _keep_state(self, source: Path, result: RunResult) -> None:
        """Copies the optimizers' state beside the model, if the contract gives it out."""
        if result.optimizer_state is None:
            return
        digest = read_state(source).digest.hex()
        if digest != result.optimizer_state:
            raise _another(source, f"state {result.optimizer_state}", f"state {digest}")
        with writing(self.path / STATE_NAME):
            link_or_copy(source, self.path / STATE_NAME)

    @property
    def _keys(self) -> Path:
        return self.path / _KEYS

    def create(self, given: Contract, transport: TransportName) -> None:
        """Makes keys for the parties that have none, and writes contract and stamp durably.

        All files are made in a temporary folder and then moved out of it, the stamp last. A
        directory with neither that folder nor the stamp was not made here.

        Raises:
            EnvironmentUnfit: The directory cannot be written; it is then left as it was.
        """
        staging = self.path / _STAGING
        made = {name: staging / name for name in (_KEYS, CONTRACT, STAMP)}
        with writing(f"the run's directory {self.path}"):
            self._clear_unfinished()
            staging.mkdir(mode=0o700)
            sync_folder(self.path)  # made first: it marks the other files as made here
            try:
                made[_KEYS].mkdir(mode=0o700)
                if transport != "memory":  # nodes in one process sign nothing
                    self.contract = _with_keys(given, made[_KEYS])
                write_whole(made[CONTRACT], canonical_json(self.contract))
                stamp = _Stamp(
                    given_contract_digest=contract_digest(given).hex(), transport=transport
                )
                write_whole(made[STAMP], stamp.model_dump_json().encode() + b"\n")
                for name, path in made.items():
                    move_over(path, self.path / name)
                    sync_folder(self.path)
                staging.rmdir()
            except (CoterieError, OSError):
                self._clear_unfinished()
                raise

    def _clear_unfinished(self) -> None:
        """Removes the files of an interrupted ``create``, but none of a run that has begun."""
        staging = self.path / _STAGING
        if staging.exists() and not (self.path / STAMP).exists():
            shutil.rmtree(self._keys, ignore_errors=True)
            self.contract_file.unlink(missing_ok=True)
        shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def open_run_directory(
    path: Path, contract: Contract, transport: TransportName
) -> Iterator[RunDirectory]:
    """Opens a new run's directory, or that of an interrupted or finished one of the same contract.

    Args:
        path: The directory; made if absent.
        contract: As the user gave it.
        transport: Name of the transport; a resumed run must use the same.

    Raises:
        OutputInUse: The directory holds something else, or another process uses it.
        EnvironmentUnfit: It cannot be written.
    """
    _require_own_or_empty(path)
    with only_writer(path):
        _require_own_or_empty(path)
        directory = RunDirectory(path, contract)
        if (path / STAMP).exists():
            stamp = _read_stamp(path)
            directory.contract = _stored_contract(directory.contract_file, contract)
            _check_stamp(stamp, path, contract, transport)
            # `create` may have been interrupted after its last move.
            shutil.rmtree(path / _STAGING, ignore_errors=True)
        else:
            directory.create(contract, transport)
        yield directory


@contextmanager
def new_directory(path: Path) -> Iterator[None]:
    """Makes a directory if it is absent, and locks it; refuses one that is not empty.

    Raises:
        OutputInUse: It is not empty, is not a directory, or is used by another process.
        EnvironmentUnfit: It cannot be made or written.
    """
    _require_empty(path)
    with only_writer(path):
        _require_empty(path)
        yield


def _require_empty(path: Path) -> None:
    names = sorted(_names(path, "an empty directory", _NEW) - {LOCK})
    if names:
        raise _in_use(path, "an empty directory", ", ".join(names[:5]), _NEW)


def _with_keys(given: Contract, folder: Path) -> Contract:
    """The contract with temporary keys for the parties that have none; makes the key files."""
    parties = []
    for party in given.parties:
        if party.key is not None:
            parties.append(party)
            continue
        key = generate_party_key(folder / f"{party.name}.pem")
        parties.append(party.model_copy(update={"key": public_key_text(key)}))
    return given.model_copy(update={"parties": tuple(parties)})


def _require_own_or_empty(path: Path) -> None:
    """Refuses a directory that holds files, unless they are a run or the beginning of one."""
    names = _names(path, "a directory, new or of this run")
    begun = {_STAGING, _KEYS, CONTRACT} if _STAGING in names else set()
    others = names - {LOCK} - begun
    if others and STAMP not in names:
        raise _in_use(path, "an empty directory", ", ".join(sorted(others)[:5]))


def _names(path: Path, expected: str, remedy: str = _RESUMED) -> set[str]:
    """Names in a directory; none if it does not exist."""
    try:
        return {entry.name for entry in path.iterdir()}
    except FileNotFoundError:
        return set()
    except NotADirectoryError as error:
        raise _in_use(path, expected, reason(error), remedy) from error
    except OSError as error:
        raise unreadable(f"the directory {path}", error) from error


def _stored_contract(path: Path, given: Contract) -> Contract:
    """The contract that the run's nodes read. Without temporary keys it must be the given one."""
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
        found = differences(canonical_json(given), canonical_json(stripped))
        remedy = _PROGRAM if all(one.startswith("tensorflow.") for one in found) else _RESUMED
        raise _in_use(path.parent, "the contract of this run", "; ".join(found)[:500], remedy)
    # The stored one has keys, and no addresses (contract/digest.py).
    return given.model_copy(update={"parties": stored.parties})


def _read_stamp(path: Path) -> _Stamp:
    try:
        return _Stamp.model_validate_json(read_bounded(path / STAMP, _MAX_STAMP_BYTES))
    except ValidationError as error:
        raise _in_use(path, "a run of this version", "an unreadable run.json") from error


def _check_stamp(stamp: _Stamp, path: Path, contract: Contract, transport: TransportName) -> None:
    expected = (contract_digest(contract).hex(), transport)
    seen = (stamp.given_contract_digest, stamp.transport)
    if seen != expected:
        raise _in_use(
            path,
            f"contract {expected[0][:16]} over {expected[1]}",
            f"contract {seen[0][:16]} over {seen[1]}",
        )


def _another(path: Path, expected: str, seen: str) -> ModelDamaged:
    return ModelDamaged(
        f"{path} is another one than the run's result names",
        expected,
        seen,
        remedy="start the run again in another directory",
    )


def _in_use(path: Path, expected: str, seen: str, remedy: str = _RESUMED) -> OutputInUse:
    return OutputInUse(
        f"the output directory {path} holds something else",
        expected,
        seen,
        remedy,
    )
