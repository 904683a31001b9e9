"""Runs that go on from a model: with real gradients, over every transport, sealed, and through kills."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from coterie.contract import Contract, load_contract, parse_contract
from coterie.nodes.continuing import continued_run
from coterie.nodes.launch import run_in_process
from coterie.nodes.start_section import continued
from coterie.runs.events import Event, StartTaken
from coterie.trained.optimizer_state import STATE_NAME, read_state
from coterie.trained.trained_model import TrainedModel
from tests.system.conftest import (
    Federation,
    Scene,
    StartNode,
    StartThread,
    contract_text,
    coterie,
    make_scene,
    result_json,
)
from tests.system.sealed import PARTIES, KeyServers, demanding, seal_key

pytestmark = pytest.mark.system

KEEPS = "[results]\noptimizer_state = true\n\n[trust]"


def text_of(mode: str, *, epochs: int = 1, shards: int = 1, seal: bool = False) -> str:
    """A small contract whose recipients get the optimizers' state, too; its last model is kept."""
    text = (
        contract_text(mode).replace("[trust]", KEEPS, 1).replace('keep = "best"', 'keep = "last"')
    )
    text = text.replace("epochs = 1", f"epochs = {epochs}")
    server = '{ name = "ps0", role = "ps", party = "PARTY", address = "127.0.0.1:0" }'.replace(
        "PARTY", "operator" if mode == "hfl" else "owner"
    )
    assert server in text
    more = [server.replace("ps0", f"ps{i}") for i in range(1, shards)]
    text = text.replace(server, ",\n    ".join([server, *more]))
    return (
        text.replace('tee = "simulated"', 'tee = "simulated"\nseal_checkpoints = true')
        if seal
        else text
    )


@pytest.fixture(scope="module")
def scenes(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Scene]:
    made: dict[str, Scene] = {}

    def of(mode: str) -> Scene:
        if mode not in made:
            folder = tmp_path_factory.mktemp(mode)
            made[mode] = make_scene(mode, raw, folder, text_of(mode))
        return made[mode]

    return of


def whole(scene: Scene, folder: Path, mode: str, epochs: int = 2) -> dict[str, object]:
    """Both runs' epochs under one contract, in one process."""
    contract = folder / "whole.toml"
    contract.write_text(text_of(mode, epochs=epochs))
    done = coterie(
        *("local", contract, "--data", scene.data, "--out", folder / "whole"),
        *("--no-compare", "--json"),
    )
    return result_json(done)


Said = dict[str, object]


def local(scene: Scene, out: Path, *options: str | Path) -> Said:
    arguments = ("local", *options, "--data", scene.data, "--out", out, "--no-compare", "--json")
    return result_json(coterie(*arguments))


@pytest.mark.parametrize("mode", ["hfl", "sdt"])
def test_a_local_run_goes_on_to_the_model_of_one_run(
    mode: str, scenes: Callable[[str], Scene], tmp_path: Path
) -> None:
    scene, expected = scenes(mode), whole(scenes(mode), tmp_path, mode)
    first = local(scene, tmp_path / "run1", scene.contract)
    again = coterie(
        *("local", "--continue", tmp_path / "run1", "--data", scene.data),
        *("--out", tmp_path / "run2", "--no-compare", "--json"),
    )
    second = result_json(again)
    assert second["model_digest"] == expected["model_digest"]
    assert second["optimizer_state"] == expected["optimizer_state"]
    assert second["test_auc"] == expected["test_auc"]
    start = second["start"]
    assert isinstance(start, dict)
    assert (start["model"], start["step"]) == (first["model_digest"], first["steps"])
    assert f"goes on from {tmp_path / 'run1'}: step {first['steps']}" in again.stderr
    assert str(first["model_digest"])[:16] in again.stderr
    assert TrainedModel.read(tmp_path / "run2" / "model.coterie").steps == 2 * first["steps"]  # type: ignore[operator]
    kept = read_state(tmp_path / "run2" / STATE_NAME)
    assert kept.digest.hex() == second["optimizer_state"]
    log = (tmp_path / "run2" / "events.jsonl").read_text()
    assert '"event": "StartTaken"' in log


def test_more_epochs_are_one_run_too(scenes: Callable[[str], Scene], tmp_path: Path) -> None:
    scene = scenes("sdt")
    expected = whole(scene, tmp_path, "sdt", epochs=4)
    local(scene, tmp_path / "run1", scene.contract)
    second = local(scene, tmp_path / "run2", "--continue", tmp_path / "run1", "--epochs", "3")
    assert second["model_digest"] == expected["model_digest"]


def test_shuffled_rows_and_the_workers_own_optimizers_go_on(
    scenes: Callable[[str], Scene], tmp_path: Path
) -> None:
    """Orders count epochs, local rates and Adam's correction count updates, of the start, too."""
    more = """order = "shuffled"
local_steps = 2
local = { dense = { kind = "adagrad" }, rows = { kind = "lazy_adam", learning_rate = 0.01 } }
"""

    def contract(epochs: int) -> Contract:
        text = text_of("hfl", epochs=epochs).replace("epochs =", f"{more}epochs =", 1)
        schedule = "[training.schedule]\nwarmup_steps = 20\n\n[training.dense]"
        text = text.replace("[training.dense]", schedule, 1)
        return parse_contract(text.replace('"rowwise_adagrad"', '"sgd"', 1).encode(), "t")

    data = scenes("hfl").data
    whole = run_in_process(contract(3), data, lambda _: None)
    run_in_process(contract(1), data, lambda _: None, out=tmp_path / "run1")
    second = continued(contract(2), tmp_path / "run1")
    result = run_in_process(second, data, lambda _: None, start=tmp_path / "run1")
    assert result.model_digest == whole.model_digest
    assert result.optimizer_state == whole.optimizer_state


def test_a_rented_worker_may_give_the_start(scenes: Callable[[str], Scene], tmp_path: Path) -> None:
    """Of a party that has no chief: before it takes its data."""
    scene, expected = scenes("sdt"), whole(scenes("sdt"), tmp_path, "sdt")
    text = text_of("sdt").replace('{ name = "owner" }', '{ name = "owner" }, { name = "cloud" }', 1)
    text = text.replace(
        '"worker0", role = "worker", party = "owner"', '"worker0", role = "worker", party = "cloud"'
    )
    contract = parse_contract(text.encode(), "rented")
    run_in_process(contract, scene.data, lambda _: None, out=tmp_path / "run1")
    made = continued_run(tmp_path / "run1")
    assert made.start is not None
    given = made.model_copy(update={"start": made.start.model_copy(update={"party": "cloud"})})
    heard: list[Event] = []
    result = run_in_process(
        given, scene.data, heard.append, out=tmp_path / "run2", start=tmp_path / "run1"
    )
    assert result.model_digest == expected["model_digest"]
    (taken,) = (event for event in heard if isinstance(event, StartTaken))
    assert taken.node == "worker0"


def test_a_model_in_larger_tables_scores_as_it_did(
    raw: Path, scenes: Callable[[str], Scene], tmp_path: Path
) -> None:
    """With a rate of next to nothing: every id of every part finds the vector that it had."""
    first = local(scenes("sdt"), tmp_path / "run1", scenes("sdt").contract)
    text = text_of("sdt").replace("rows = 64", "rows = 64\ncolumn_rows = { C3 = 127, C7 = 316 }")
    folder = tmp_path / "grown"
    folder.mkdir()
    grown = make_scene(
        "sdt", raw, folder, text.replace("learning_rate = 0.05", "learning_rate = 1e-30")
    )
    said = coterie(
        *("local", grown.contract, "--continue", tmp_path / "run1", "--data", grown.data),
        *("--out", tmp_path / "run2", "--json"),
    )
    second = result_json(said)
    assert "table C3 grows from 64 to 127 rows: new ones begin as copies" in said.stderr
    assert "table C7 grows from 64 to 316 rows: new ones begin as copies" in said.stderr
    for metric in ("test_auc", "validation_auc", "test_logloss", "test_accuracy"):
        assert second[metric] == first[metric]
    assert second["model_digest"] != first["model_digest"]
    models = [TrainedModel.read(tmp_path / run / "model.coterie") for run in ("run1", "run2")]
    assert models[1].row_ids.size > models[0].row_ids.size

    wrong = tmp_path / "wrong.toml"
    wrong.write_text(text.replace("C3 = 127", "C3 = 128"))
    refused = coterie(
        *("local", wrong, "--continue", tmp_path / "run1", "--data", grown.data, "--json")
    )
    assert refused.returncode == 4
    assert "the table of C3 cannot grow from 64 to 128 rows" in json.loads(refused.stdout)["seen"]


def test_new_columns_begin_from_the_seed_and_are_said(raw: Path, tmp_path: Path) -> None:
    few = [f"I{i}" for i in range(1, 13)], [f"C{i}" for i in range(1, 26)]
    text = text_of("sdt").replace(
        "[data]", f"[data]\nnumeric = {json.dumps(few[0])}\ncategorical = {json.dumps(few[1])}"
    )
    first, second = tmp_path / "first", tmp_path / "second"
    narrow = tmp_path / "narrow.tsv"
    lines = (line.split("\t") for line in raw.read_text().splitlines())
    narrow.write_text("".join("\t".join([*line[:13], *line[14:39]]) + "\n" for line in lines))
    for folder in (first, second):
        folder.mkdir()
    before = make_scene("sdt", narrow, first, text)
    after = make_scene("sdt", raw, second, text_of("sdt"))
    local(before, tmp_path / "run1", before.contract)
    said = coterie(
        *("local", after.contract, "--continue", tmp_path / "run1", "--data", after.data),
        *("--out", tmp_path / "run2", "--json"),
    )
    result = result_json(said)
    assert "new columns begin from the seed: I13, C26" in said.stderr
    start = result["start"]
    assert isinstance(start, dict)
    assert start["new_columns"] == ["I13", "C26"]
    assert isinstance(result["test_auc"], float)
    assert result["test_auc"] > 0.5


def test_attested_runs_go_on_and_their_receipts_are_a_line(
    scenes: Callable[[str], Scene], both_epochs: str, tmp_path: Path
) -> None:
    scene, contract = scenes("hfl"), tmp_path / "contract.toml"
    contract.write_text(text_of("hfl", shards=2))
    data = ("--data", scene.data, "--json")
    first = result_json(coterie("run", contract, "--out", tmp_path / "run1", *data))
    command = ("run", "--continue", tmp_path / "run1", "--out", tmp_path / "run2", *data)
    said = coterie(*command)
    second = result_json(said)
    assert second["model_digest"] == both_epochs
    assert result_json(coterie(*command)) == second, "the same command finds its own run"
    start = second["start"]
    assert isinstance(start, dict)
    assert start["model"] == first["model_digest"]

    receipt, parent = (tmp_path / run / "receipt.jsonl" for run in ("run2", "run1"))
    (kept,) = (tmp_path / "run2" / "parents").iterdir()
    assert kept.read_bytes() == parent.read_bytes()
    verified = result_json(coterie("receipt", "verify", receipt, "--json"))
    parents = verified["parents"]
    assert isinstance(parents, list)
    (before,) = parents
    assert (before["head"], before["outcome"]["model_digest"]) == (
        start["receipt"],
        first["model_digest"],
    )
    kept.unlink()
    alone = coterie("receipt", "verify", receipt)
    assert "give the receipt of its run with --parent" in alone.stdout
    given = coterie("receipt", "verify", receipt, "--parent", parent)
    assert given.returncode == 0
    assert "which it went on from, came out of the run of receipt" in given.stdout
    broken = coterie("receipt", "verify", parent, "--parent", receipt, "--json")
    assert broken.returncode == 3
    assert json.loads(broken.stdout)["place"] == "the line of runs"


def test_an_attested_run_with_a_chief_goes_on_from_a_local_one(
    scenes: Callable[[str], Scene], tmp_path: Path
) -> None:
    scene, expected = scenes("sdt"), whole(scenes("sdt"), tmp_path, "sdt")
    local(scene, tmp_path / "run1", scene.contract)
    second = coterie(
        *("run", "--continue", tmp_path / "run1", "--out", tmp_path / "run2"),
        *("--data", scene.data, "--json"),
    )
    assert result_json(second)["model_digest"] == expected["model_digest"]
    assert result_json(second)["optimizer_state"] == expected["optimizer_state"]


class GoingOn(Federation):
    """A federation whose second run goes on from its first one's model, which acme's node kept."""

    def __init__(self, folder: Path, scene: Scene) -> None:
        super().__init__(folder, scene)
        self.before = folder / "before"

    def first(self, scene: Scene) -> None:
        local(scene, self.before, scene.contract)

    def name_start(self) -> None:
        """Puts [start] into the contract file, as parties write it."""
        made = continued(load_contract(self.contract), self.before)
        assert made.start is not None
        lines = [
            f'{key} = "{value}"' if isinstance(value, str) else f"{key} = {value}"
            for key, value in made.start.model_dump(exclude_defaults=True).items()
        ]
        self.text += "\n[start]\n" + "\n".join(lines) + "\n"
        self.contract = self.write("contract.toml", self.text)


@pytest.fixture
def going_on(scenes: Callable[[str], Scene], tmp_path: Path) -> GoingOn:
    made = GoingOn(tmp_path, scenes("hfl"))
    made.first(scenes("hfl"))
    return made


@pytest.fixture
def named(going_on: GoingOn) -> GoingOn:
    going_on.name_start()
    return going_on


@pytest.fixture(scope="module")
def both_epochs(scenes: Callable[[str], Scene], tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(whole(scenes("hfl"), tmp_path_factory.mktemp("whole"), "hfl")["model_digest"])


def test_a_node_gives_the_start_and_only_it_may(
    named: GoingOn, both_epochs: str, start_thread: StartThread
) -> None:
    server, address = named.server(start_thread)
    acme = start_thread(
        *(named.contract, "acme-worker", "--address", f"ps0={address}"),
        *("--data", named.data / "acme", "--party-key", named.key("acme")),
        *("--start", named.before, "--out", named.folder / "acme"),
    )
    bolt = named.worker(start_thread, address, party="bolt", out=named.folder / "bolt")
    taken = server.wait_event("StartTaken")
    assert taken["node"] == "acme-worker"
    result = server.wait_event("Finished")["result"]
    assert isinstance(result, dict)
    assert result["model_digest"] == both_epochs
    assert [node.finish() for node in (server, acme, bolt)] == [0, 0, 0]
    for party in ("acme", "bolt"):
        kept = read_state(named.folder / party / STATE_NAME)
        assert kept.digest.hex() == result["optimizer_state"]

    refused = coterie(
        *("node", named.contract, "bolt-worker", "--party-key", named.key("bolt")),
        *("--start", named.before),
    )
    assert refused.returncode == 4
    assert "node bolt-worker does not give the model that the run starts from" in refused.stderr


def test_a_giver_without_its_files_ends_and_says_why(
    named: GoingOn, start_thread: StartThread
) -> None:
    acme = named.worker(start_thread, "127.0.0.1:9", party="acme")
    error = acme.wait_event("Failed")["error"]
    assert isinstance(error, dict)
    assert error["error"] == "StartRefused"
    assert "but was not told where it is" in error["what"]
    assert acme.finish() == 5


def test_a_giver_with_another_model_ends_before_anybody_waits(
    named: GoingOn, start_thread: StartThread
) -> None:
    model = TrainedModel.read(named.before / "model.coterie")
    TrainedModel.of(
        model.contract, model.steps, model.dense + 1, model.row_ids, model.row_values
    ).write(named.before / "model.coterie")
    acme = start_thread(
        *(named.contract, "acme-worker", "--address", "ps0=127.0.0.1:9"),
        *("--data", named.data / "acme", "--party-key", named.key("acme")),
        *("--start", named.before),
    )
    error = acme.wait_event("Failed")["error"]
    assert isinstance(error, dict)
    assert error["error"] == "StartRefused"
    assert "is not the one that the contract names" in error["what"]
    assert acme.finish() == 5


@pytest.mark.parametrize("after", ["StartTaken", "CheckpointWritten"])
def test_a_killed_server_gets_the_start_again_or_its_checkpoint(
    after: str,
    named: GoingOn,
    both_epochs: str,
    start_node: StartNode,
    start_thread: StartThread,
) -> None:
    server, address = named.server(start_node)
    acme = start_thread(
        *(named.contract, "acme-worker", "--address", f"ps0={address}"),
        *("--data", named.data / "acme", "--party-key", named.key("acme")),
        *("--start", named.before),
    )
    bolt = named.worker(start_thread, address, party="bolt")
    server.wait_event(after)
    server.kill()
    again, _ = named.server(start_thread, address)
    if after == "StartTaken":
        again.wait_event("StartTaken")
    result = again.wait_event("Finished")["result"]
    assert isinstance(result, dict)
    assert result["model_digest"] == both_epochs
    assert [node.finish() for node in (again, acme, bolt)] == [0, 0, 0]
    receipt = named.folder / "ps0" / "receipt.jsonl"
    assert coterie("receipt", "verify", receipt).returncode == 0


def test_a_killed_giver_comes_back_with_the_same_start(
    named: GoingOn, both_epochs: str, start_node: StartNode, start_thread: StartThread
) -> None:
    server, address = named.server(start_thread)
    words = (
        *(named.contract, "acme-worker", "--address", f"ps0={address}"),
        *("--data", named.data / "acme", "--party-key", named.key("acme")),
        *("--start", named.before),
    )
    bolt = named.worker(start_thread, address, party="bolt")
    acme = start_node(*words)
    server.wait_event("StartTaken")
    acme.kill()
    again = start_thread(*words)
    result = server.wait_event("Finished")["result"]
    assert isinstance(result, dict)
    assert result["model_digest"] == both_epochs
    assert [node.finish() for node in (server, again, bolt)] == [0, 0, 0]


def test_a_sealed_start_goes_on_where_its_host_cannot_read_it(
    going_on: GoingOn, both_epochs: str, start_thread: StartThread
) -> None:
    """Acme's model, sealed at home; its key server opens it for the node that gives it, and no other."""
    keys = {party: seal_key(going_on, party) for party in ("acme", "bolt")}
    sealed = going_on.folder / "sealed"
    done = coterie("seal-model", going_on.before, sealed, "--key", keys["acme"], "--json")
    assert [Path(str(path)).name for path in result_json(done)["files"]] == [  # type: ignore[attr-defined]
        "model.coterie.sealed",
        "optimizer.coterie.sealed",
    ]
    going_on.name_start()
    demanding(going_on)
    servers = KeyServers()
    try:
        more = {"acme": '[start]\nkey = "acme-model.key"\n'}
        home = {party: servers(going_on, party, more.get(party, "")) for party in PARTIES}
        ps = start_thread(
            *(going_on.contract, "ps0", "--listen", "127.0.0.1:0"),
            *("--out", going_on.folder / "ps0", "--key-server", home["operator"].address),
        )
        address = str(ps.wait_event("Listening")["address"])
        outs = {party: going_on.folder / f"{party}-out" for party in ("acme", "bolt")}
        workers = [
            start_thread(
                *(going_on.contract, f"{party}-worker", "--address", f"ps0={address}"),
                *("--data", going_on.data / party, "--key-server", home[party].address),
                *("--out", outs[party], *(("--start", sealed) if party == "acme" else ())),
            )
            for party in ("acme", "bolt")
        ]
        result = ps.wait_event("Finished")["result"]
        assert isinstance(result, dict)
        assert result["model_digest"] == both_epochs
        assert [node.finish() for node in (ps, *workers)] == [0, 0, 0]
        granted = [(told["node"], told["wanted"]) for told in home["acme"].end()]
        assert granted == [
            ("acme-worker", "voucher"),
            ("acme-worker", "model"),
            ("acme-worker", "data"),
        ]
    finally:
        servers.close()
    assert not list(going_on.folder.glob("*-out/*.coterie"))
    for name in ("model.coterie", "optimizer.coterie"):
        opened = going_on.folder / name
        done = coterie(
            "unseal", outs["acme"] / f"{name}.sealed", opened, "--key", keys["acme"], "--json"
        )
        assert result_json(done)["model_digest"] == both_epochs
    assert read_state(going_on.folder / STATE_NAME).digest.hex() == result["optimizer_state"]
