"""The giver's files, open or sealed: found, checked before anybody waits, and given as they are."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from coterie.contract import Contract
from coterie.errors import ContractInvalid, KeyRefused, SealBroken, StartRefused
from coterie.sealed.data_key import DataKey
from coterie.sealed.sealed_model import SealedModelFile
from coterie.trained.optimizer_state import STATE_NAME
from coterie.trained.trained_model import MODEL_NAME
from coterie.training.start_giver import StartFiles, check_named, no_start_given
from tests.ps.warm_start.conftest import contract, no_key, ran

KEY = DataKey("p0", b"\1" * 32, b"\2" * 32)


def content(files: StartFiles) -> tuple[bytes, bytes]:
    parts = list(files.parts(3))
    assert parts[0].offer.ps_incarnation == 3
    return (
        b"".join(part.model for part in parts),
        b"".join(part.optimizer_state for part in parts),
    )


def sealed(folder: Path, out: Path, *names: str) -> Path:
    out.mkdir()
    for name in names:
        octets = (folder / name).read_bytes()
        with SealedModelFile.in_folder(out, name, KEY).writing(len(octets)) as target:
            target.write(octets)
    return out


def test_open_files_are_given_as_they_are(before: Path, going_on: Contract) -> None:
    files = StartFiles(going_on, before, no_key)
    files.check()
    assert content(files) == tuple(
        (before / name).read_bytes() for name in (MODEL_NAME, STATE_NAME)
    )


def test_sealed_files_are_opened_with_their_sets_key(
    before: Path, going_on: Contract, tmp_path: Path
) -> None:
    folder = sealed(before, tmp_path / "sealed", MODEL_NAME, STATE_NAME)
    asked: list[bytes] = []

    def key_of(set_id: bytes) -> bytes:
        asked.append(set_id)
        return KEY.key

    files = StartFiles(going_on, folder, key_of)
    files.check()
    assert content(files) == content(StartFiles(going_on, before, no_key))
    assert asked == [KEY.set_id], "once for both files, and for both times"
    outcome = ran(going_on, tmp_path / "open", before)
    assert outcome.optimizer_state is not None


def test_a_key_that_is_refused_ends_the_giver(
    before: Path, going_on: Contract, tmp_path: Path
) -> None:
    folder = sealed(before, tmp_path / "sealed", MODEL_NAME, STATE_NAME)

    def refused(_set_id: bytes) -> bytes:
        raise KeyRefused("no")

    with pytest.raises(KeyRefused):
        StartFiles(going_on, folder, refused).check()
    with pytest.raises(SealBroken, match=r"the sealed file model\.coterie cannot be opened"):
        StartFiles(going_on, folder, lambda _: bytes(32)).check()


@pytest.mark.parametrize("name", [MODEL_NAME, STATE_NAME])
def test_a_sealed_file_that_was_touched_or_swapped_is_refused(
    before: Path, going_on: Contract, tmp_path: Path, name: str
) -> None:
    folder = sealed(before, tmp_path / "sealed", MODEL_NAME, STATE_NAME)
    path = folder / f"{name}.sealed"
    octets = bytearray(path.read_bytes())
    octets[len(octets) // 2] ^= 1
    path.write_bytes(octets)
    with pytest.raises(SealBroken, match=f"the sealed file {name} cannot be opened"):
        StartFiles(going_on, folder, lambda _: KEY.key).check()
    path.write_bytes(b"something else")
    with pytest.raises(SealBroken, match=f"the sealed file {name} cannot be opened"):
        StartFiles(going_on, folder, lambda _: KEY.key).check()
    other = MODEL_NAME if name == STATE_NAME else STATE_NAME
    shutil.copy(folder / f"{other}.sealed", path)
    with pytest.raises(SealBroken):
        StartFiles(going_on, folder, lambda _: KEY.key).check()


@pytest.mark.parametrize("name", [MODEL_NAME, STATE_NAME])
def test_a_file_that_is_missing_is_named(before: Path, going_on: Contract, name: str) -> None:
    (before / name).unlink()
    with pytest.raises(StartRefused, match=f"cannot be read: {before / name}") as refused:
        StartFiles(going_on, before, no_key).check()
    assert refused.value.expected == f"{name}, or {name}.sealed, as a run left it"
    assert refused.value.seen == "No such file or directory"


def test_no_state_is_read_where_the_contract_names_none(before: Path, going_on: Contract) -> None:
    assert going_on.start is not None
    anew = going_on.start.model_copy(update={"optimizer_state": "new"})
    (before / STATE_NAME).unlink()
    files = StartFiles(going_on.model_copy(update={"start": anew}), before, no_key)
    files.check()
    assert content(files)[1] == b""


def test_a_folder_and_a_start_go_together(before: Path, going_on: Contract) -> None:
    check_named(going_on, before)
    check_named(contract(), None)
    with pytest.raises(ContractInvalid, match="contract small has no start") as refused:
        check_named(contract(), before)
    assert (refused.value.expected, refused.value.seen) == ("no --start", str(before))
    with pytest.raises(ContractInvalid, match="contract small goes on from a model") as refused:
        check_named(going_on, None)
    assert (refused.value.expected, refused.value.seen) == ("--start DIR: where it lies", "none")


def test_a_giver_without_a_folder_is_told_what_to_give() -> None:
    error = no_start_given("acme-worker")
    assert error.what == (
        "node acme-worker gives the model that the run starts from, but was not told where it is"
    )
    assert "--start DIR" in error.remedy
