"""A stranger's receipt is shown on one's own terminal: none of its bytes may steer that."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from coterie.receipts import entry_types
from coterie.receipts.entry_types import Body
from tests.cli.conftest import Run
from tests.ratls.conftest import World
from tests.receipts.conftest import Scene, resign

ESCAPE = "\x1b[2J\x1b[1;1HACCEPTED"
LIES: dict[str, Body] = {
    "refused": entry_types.PeerRefused.model_construct(error="X", reason=ESCAPE),
    "joined": entry_types.NodeJoined.model_construct(
        node=ESCAPE, incarnation=1, examples=1, data_set="0" * 64
    ),
    "left_out": entry_types.NodeLeftOut.model_construct(node=ESCAPE, step=1),
}


@pytest.fixture
def receipt(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Signed by the server's own key, and with an escape sequence in its third line."""
    scene = Scene(World(), tmp_path)
    whole = scene.whole()
    told = scene.bodies()[:2]
    now: datetime = scene.world.clock()
    identity = scene.server.credentials.current().identity
    resign(told, identity, whole, lambda _: now)
    lie = LIES[request.param]
    append(whole, told, lie, scene, now)
    return whole


def append(path: Path, told: list[Body], lie: Body, scene: Scene, now: datetime) -> None:
    """Adds an entry that no honest program can write: its values are not checked."""
    from coterie.receipts import entries

    lines = path.read_bytes().splitlines()
    said = entries.statement(
        index=len(told), at=now, body=lie, previous=entries.line_digest(lines[-1])
    )
    identity = scene.server.credentials.current().identity
    said["signature"] = identity.sign(entries.signed_bytes(said)).hex()
    path.write_bytes(b"\n".join([*lines, entries.canonical(said), b""]))


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@pytest.mark.parametrize("receipt", list(LIES), indirect=True)
@pytest.mark.parametrize("verb", ["show", "verify"])
def test_a_receipt_cannot_steer_the_terminal(receipt: Path, verb: str, run: Run) -> None:
    assert b"\\u001b[2J" in receipt.read_bytes()
    for options in ((), ("--json",), ("--log-format", "json")):
        ran = run("receipt", verb, receipt, *options)
        assert ran.code == 3
        assert "a value is not what it must be" in ran.out + ran.err
        assert "line 3 (" in ran.out + ran.err
        assert all(char.isprintable() or char == "\n" for char in ran.out + ran.err)


def test_keys_and_kinds_of_a_stranger_cannot_either(tmp_path: Path, run: Run) -> None:
    from coterie.receipts import entries

    path = tmp_path / "receipt.jsonl"
    frame = dict.fromkeys(("at", "body", "index", "previous", "signature"), "")
    for value, what in (
        ({ESCAPE: 1}, "it is no entry"),
        ({**frame, "kind": ESCAPE}, "it is of an unknown kind"),
        ({**frame, "kind": "refused", "body": {ESCAPE: 1}}, "a value is not what it must be"),
    ):
        path.write_bytes(entries.canonical(value) + b"\n")
        ran = run("receipt", "verify", path)
        assert (ran.code, ran.out) == (3, "")
        assert f"error: the receipt is refused: {what}" in ran.err
        assert all(char.isprintable() or char == "\n" for char in ran.err)


def test_a_run_s_folder_stands_for_its_receipt(tmp_path: Path, run: Run) -> None:
    scene = Scene(World(), tmp_path)
    receipt = scene.whole()
    shown = run("receipt", "show", receipt.parent)
    assert (shown.code, shown.out) == (0, run("receipt", "show", receipt).out)
    missing = run("receipt", "verify", tmp_path / "none")
    assert missing.code == 2
    (tmp_path / "empty").mkdir()
    ran = run("receipt", "verify", tmp_path / "empty", "--json")
    assert (ran.code, ran.value["error"]) == (3, "ReceiptRefused")
    assert str(tmp_path / "empty" / "receipt.jsonl") in str(ran.value["what"])


def test_a_folder_in_place_of_a_contract_leads_to_the_one_in_it(tmp_path: Path, run: Run) -> None:
    receipt = Scene(World(), tmp_path).whole()
    ran = run("receipt", "verify", receipt, "--contract", tmp_path, "--json")
    assert (ran.code, ran.value["error"]) == (4, "ContractInvalid")
    assert "contract.json" not in str(ran.value["remedy"])
    (tmp_path / "contract.json").write_text("{}")
    ran = run("receipt", "verify", receipt, "--contract", tmp_path, "--json")
    assert ran.value["remedy"] == f"name {tmp_path / 'contract.json'}"


def test_the_receipt_of_a_run_that_goes_on_is_its_server_s(tmp_path: Path, run: Run) -> None:
    node = tmp_path / "nodes" / "ps0"
    node.mkdir(parents=True)
    receipt = Scene(World(), node).whole()
    assert receipt.parent == node
    assert run("receipt", "show", tmp_path).out == run("receipt", "show", receipt).out
    (tmp_path / "receipt.jsonl").write_text("{}\n")
    assert run("receipt", "show", tmp_path).code == 3
