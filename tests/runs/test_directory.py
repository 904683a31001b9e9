"""One run per directory: resumed by its own contract, refused to everything else."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from coterie.contract import Contract, contract_digest, load_contract, parse_contract
from coterie.errors import EnvironmentUnfit, OutputInUse
from coterie.runs.directory import new_directory, open_run_directory
from coterie.runs.outcome import RunEnd, RunOutcome
from coterie.runs.result import RunResult, result_of
from faults.disk import PowerCut, no_room
from tests.conftest import REPOSITORY

EXAMPLES = REPOSITORY / "examples"
TEXT = (EXAMPLES / "hfl.toml").read_text()
HFL = load_contract(EXAMPLES / "hfl.toml")
OTHER = parse_contract(TEXT.replace("batch = 128", "batch = 64").encode(), "other")
ED25519_GENERATE = Ed25519PrivateKey.generate
PARTIES = ["operator", "acme", "bolt", "corn", "dune"]


def result() -> RunResult:
    outcome = RunOutcome(
        steps=1,
        model_step=1,
        examples=2,
        seconds=1.0,
        train_loss=0.5,
        totals={},
        model_digest=bytes(32),
        end=RunEnd("5e" * 32, "c4" * 32),
    )
    return result_of(outcome, HFL, "ra-tls")


def begin(path: Path, contract: Contract = HFL) -> Contract:
    with open_run_directory(path, contract, "ra-tls") as directory:
        return directory.contract


def refused(path: Path, contract: Contract = HFL) -> OutputInUse:
    with pytest.raises(OutputInUse) as refusal, open_run_directory(path, contract, "ra-tls"):
        pass
    assert str(path) in refusal.value.what
    assert "--out" in refusal.value.remedy
    return refusal.value


def public_key(pem: Path) -> str:
    key = load_pem_private_key(pem.read_bytes(), password=None)
    assert isinstance(key, Ed25519PrivateKey)
    return "ed25519:" + key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()


# --- a new run ---------------------------------------------------------------------------------


def test_a_new_run_makes_a_throw_away_key_for_every_party_without_one(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "run"
    with open_run_directory(out, HFL, "ra-tls") as directory:
        for party in directory.contract.parties:
            path = directory.key_file(party.name)
            assert path is not None
            assert public_key(path) == party.key
        assert len({party.key for party in directory.contract.parties}) == 5
        assert load_contract(directory.contract_file) == without_addresses(directory.contract)


def without_addresses(contract: Contract) -> Contract:
    nodes = tuple(node.model_copy(update={"address": None}) for node in contract.nodes)
    return contract.model_copy(update={"nodes": nodes})


def test_keys_are_for_their_owner_alone(tmp_path: Path) -> None:
    begin(tmp_path)
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    for party in PARTIES:
        assert stat.S_IMODE((tmp_path / "keys" / f"{party}.pem").stat().st_mode) == 0o600


def test_a_key_of_the_contract_is_kept_and_none_made_for_it(tmp_path: Path) -> None:
    key = "ed25519:" + "ab" * 32
    text = TEXT.replace('name = "acme"\n', f'name = "acme"\nkey = "{key}"\n', 1)
    contract = parse_contract(text.encode(), "with a key")
    with open_run_directory(tmp_path, contract, "ra-tls") as directory:
        assert directory.key_file("acme") is None
        assert directory.key_file("bolt") is not None
        assert [p.key for p in directory.contract.parties if p.name == "acme"] == [key]


def test_every_node_gets_a_folder_of_its_own(tmp_path: Path) -> None:
    with open_run_directory(tmp_path, HFL, "ra-tls") as directory:
        folders = {directory.node(node.name) for node in HFL.nodes}
    assert len(folders) == 5
    assert all(folder.is_dir() for folder in folders)


# --- resuming ----------------------------------------------------------------------------------


def test_the_same_contract_resumes_with_the_same_keys(tmp_path: Path) -> None:
    first = begin(tmp_path)
    with open_run_directory(tmp_path, HFL, "ra-tls") as directory:
        assert contract_digest(directory.contract) == contract_digest(first)
        assert directory.key_file("acme") is not None
        assert directory.result() is None


def test_an_interrupted_beginning_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Ed25519PrivateKey] = []

    def generate() -> Ed25519PrivateKey:
        if len(made) == 3:
            raise KeyboardInterrupt
        made.append(ED25519_GENERATE())
        return made[-1]

    with monkeypatch.context() as patch:
        patch.setattr(Ed25519PrivateKey, "generate", generate)
        with pytest.raises(KeyboardInterrupt):
            begin(tmp_path)
    again = begin(tmp_path)
    for party in again.parties:
        assert public_key(tmp_path / "keys" / f"{party.name}.pem") == party.key


def test_a_power_cut_once_the_nodes_may_start_loses_nothing(tmp_path: Path) -> None:
    disk = PowerCut(tmp_path / "disk")
    disk.root.mkdir()
    with disk.watching(), open_run_directory(disk.root / "run", HFL, "ra-tls") as directory:
        begun = directory.contract
        disk.image(tmp_path / "image")
    with open_run_directory(tmp_path / "image" / "run", HFL, "ra-tls") as directory:
        assert contract_digest(directory.contract) == contract_digest(begun)
        for party in begun.parties:
            key = directory.key_file(party.name)
            assert key is not None
            assert public_key(key) == party.key
            assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_a_power_cut_at_any_moment_of_the_beginning_leaves_a_run_that_can_begin(
    tmp_path: Path,
) -> None:
    disk = PowerCut(tmp_path / "disk")
    disk.root.mkdir()
    images: list[Path] = []
    disk.on_sync = lambda _: images.append(disk.image(tmp_path / f"image-{len(images)}"))
    with disk.watching():
        begin(disk.root / "run")
    assert len(images) > 2 * len(PARTIES)
    for image in images:
        again = begin(image / "run")
        for party in again.parties:
            assert public_key(image / "run" / "keys" / f"{party.name}.pem") == party.key
        assert not list(image.glob("run/*.partial"))


def test_a_power_cut_after_the_end_keeps_the_result(tmp_path: Path) -> None:
    disk = PowerCut(tmp_path / "disk")
    disk.root.mkdir()
    with disk.watching(), open_run_directory(disk.root / "run", HFL, "ra-tls") as directory:
        directory.finish(result())
    image = disk.image(tmp_path / "image")
    with open_run_directory(image / "run", HFL, "ra-tls") as directory:
        assert directory.result() == result()


@pytest.mark.parametrize("octets", [0, 100, 1000])
def test_a_disk_that_is_full_at_the_start_says_so_and_leaves_a_run_that_can_begin(
    tmp_path: Path, octets: int
) -> None:
    with (
        pytest.raises(EnvironmentUnfit) as error,
        no_room(octets),
        open_run_directory(tmp_path / "run", HFL, "ra-tls"),
    ):
        pass
    assert error.value.what.endswith("cannot be written")
    assert error.value.seen == "File too large"
    begin(tmp_path / "run")


def test_a_result_that_finds_no_room_says_so_and_can_be_kept_later(tmp_path: Path) -> None:
    with open_run_directory(tmp_path, HFL, "ra-tls") as directory:
        with pytest.raises(EnvironmentUnfit, match=r"result\.json cannot be written"), no_room():
            directory.finish(result())
        assert directory.result() is None
        directory.finish(result())
        assert directory.result() == result()


def test_a_finished_run_keeps_its_result_and_forgets_its_keys(tmp_path: Path) -> None:
    with open_run_directory(tmp_path, HFL, "ra-tls") as directory:
        directory.finish(result())
        assert directory.key_file("acme") is None
    assert not (tmp_path / "keys").exists()
    with open_run_directory(tmp_path, HFL, "ra-tls") as directory:
        assert directory.result() == result()
    assert not list(tmp_path.glob("*.partial"))


# --- refusals ----------------------------------------------------------------------------------


def test_a_runs_receipt_is_copied_to_where_people_look(tmp_path: Path) -> None:
    with open_run_directory(tmp_path / "run", HFL, "ra-tls") as directory:
        directory.keep_receipt("ps0")
        assert not (tmp_path / "run" / "receipt.jsonl").exists(), "plaintext runs have none"
        (directory.node("ps0") / "receipt.jsonl").write_bytes(b"an entry\n")
        directory.keep_receipt("ps0")
    assert (tmp_path / "run" / "receipt.jsonl").read_bytes() == b"an entry\n"
    assert not list((tmp_path / "run").glob("*.partial"))


def test_another_contracts_run_is_refused(tmp_path: Path) -> None:
    begin(tmp_path)
    before = snapshot(tmp_path)
    error = refused(tmp_path, OTHER)
    assert error.expected == "the contract of this run"
    assert error.seen == "training.batch: 64 here, 128 there"
    assert snapshot(tmp_path) == before


def test_a_finished_run_of_another_contract_is_refused(tmp_path: Path) -> None:
    with open_run_directory(tmp_path, HFL, "ra-tls") as directory:
        directory.finish(result())
    assert refused(tmp_path, OTHER).seen == "training.batch: 64 here, 128 there"


def test_a_new_directory_is_for_what_is_not_resumed(tmp_path: Path) -> None:
    """So nothing is said of runs that go on."""
    with new_directory(tmp_path / "new"):
        pass
    (tmp_path / "thesis.tex").touch()
    for path in (tmp_path, tmp_path / "thesis.tex"):
        with pytest.raises(OutputInUse) as error, new_directory(path):
            pass
        assert error.value.remedy == "name another --out DIR, one that is new or empty"


def test_a_run_does_not_change_its_transport(tmp_path: Path) -> None:
    begin(tmp_path)
    with (
        pytest.raises(OutputInUse) as error,
        open_run_directory(tmp_path, HFL, "PLAINTEXT"),
    ):
        pass
    assert error.value.expected.endswith("over PLAINTEXT")
    assert error.value.seen.endswith("over ra-tls")


def test_a_directory_with_foreign_files_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    for name in ("thesis.tex", "a", "b", "c", "d", "e"):
        (tmp_path / name).write_text("mine")
    error = refused(tmp_path)
    assert error.expected == "an empty directory"
    assert error.seen == "a, b, c, d, e"
    assert (tmp_path / "thesis.tex").read_text() == "mine"
    assert not (tmp_path / "keys").exists()


@pytest.mark.parametrize("text", ["", "{}", "null", '{"format": 2}', "\0"])
def test_an_unreadable_stamp_is_refused(tmp_path: Path, text: str) -> None:
    begin(tmp_path)
    (tmp_path / "run.json").write_text(text)
    assert refused(tmp_path).seen == "an unreadable run.json"


def test_an_unreadable_result_is_refused(tmp_path: Path) -> None:
    begin(tmp_path)
    (tmp_path / "result.json").write_text("{}")
    with (
        open_run_directory(tmp_path, HFL, "ra-tls") as directory,
        pytest.raises(OutputInUse) as error,
    ):
        directory.result()
    assert error.value.expected == "a result of this version"


HOLD = """
import fcntl, sys
with open(sys.argv[1], "w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.system
def test_a_directory_that_another_process_uses_is_refused(tmp_path: Path) -> None:
    begin(tmp_path)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / ".lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        error = refused(tmp_path)
        assert (error.expected, error.seen) == ("no other process", "one that is running")
    begin(tmp_path)


def snapshot(path: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()
    }


# --- what the lead should mend -----------------------------------------------------------------


# keys/*.pem of a directory without run.json are deleted unread. A user's
# own `keys/acme.pem` (coterie contract keygen) beside the contract is gone after --out DIR.
def test_foreign_keys_are_never_deleted(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    precious = tmp_path / "keys" / "acme.pem"
    precious.write_text("the company's only key")
    refused(tmp_path)
    assert precious.read_text() == "the company's only key"


# contract.json may say anything; only run.json is compared with the given contract.
def test_a_resumed_run_has_the_contract_that_was_given(tmp_path: Path) -> None:
    begin(tmp_path)
    path = tmp_path / "contract.json"
    value = json.loads(path.read_bytes())
    value["training"]["batch"] = 64
    path.write_text(json.dumps(value))
    refused(tmp_path)


# FileNotFoundError comes through.
def test_a_resumed_run_has_the_given_addresses(tmp_path: Path) -> None:
    begun, resumed = begin(tmp_path / "run"), begin(tmp_path / "run")
    assert [node.address for node in resumed.nodes] == [node.address for node in HFL.nodes]
    assert resumed == begun


def test_a_stamp_without_its_contract_is_refused(tmp_path: Path) -> None:
    begin(tmp_path)
    (tmp_path / "contract.json").unlink()
    refused(tmp_path)


# FileExistsError and NotADirectoryError come through.
@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_file_in_the_directorys_place_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("mine")
    refused(tmp_path / name)


# the lock file is made before the look around, and stays.
def test_nothing_is_left_in_a_foreign_directory(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    refused(tmp_path)
    assert snapshot(tmp_path) == {"thesis.tex": b"mine"}
