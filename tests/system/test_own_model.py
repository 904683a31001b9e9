"""A model of one's own, attested: DCN v2 by both schemes, the same bits as in one process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving.conftest import DCN
from tests.system.conftest import (
    Federation,
    StartThread,
    contract_text,
    coterie,
    make_scene,
    rented,
    result_json,
)

pytestmark = pytest.mark.system


def with_dcn(mode: str) -> str:
    text = contract_text(mode)
    start, end = text.index("[model]"), text.index("[training]")
    return text[:start] + DCN + text[end:]


@pytest.mark.parametrize("mode", ["hfl", "sdt"])
def test_dcn_trains_attested_to_the_model_of_one_process(
    mode: str, raw: Path, tmp_path: Path, start_thread: StartThread
) -> None:
    scene = make_scene(mode, raw, tmp_path, with_dcn(mode))
    data = ("--data", scene.data, "--no-compare", "--json")
    local = result_json(coterie("local", scene.contract, *data, "--out", tmp_path / "local"))
    parties = Federation(tmp_path, scene)
    if mode == "hfl":
        server, address = parties.server(start_thread)
        workers = [parties.worker(start_thread, address, party=party) for party in ("acme", "bolt")]
        nodes = [server, *workers]
    else:
        key = ("--party-key", parties.key("owner"))
        nodes = rented(parties, start_thread, scene.data / "owner", key)
    attested = nodes[0].wait_event("Finished")["result"]
    assert isinstance(attested, dict)
    assert {node.finish() for node in nodes} == {0}
    assert attested["model_digest"] == local["model_digest"]
    assert attested["test_auc"] == local["test_auc"]
    assert attested["tee"] == "SIMULATED"
    assert isinstance(local["test_auc"], float)
    assert local["test_auc"] > 0.55

    seen = result_json(coterie("evaluate", tmp_path / "local", scene.data, "--json"))
    assert isinstance(seen["test"], dict)
    assert seen["test"]["auc"] == local["test_auc"]


def test_local_steps_train_dcn_too(raw: Path, tmp_path: Path) -> None:
    text = with_dcn("hfl").replace(
        "[training]\n", "[training]\nlocal_steps = 3\nlocal_learning_rate = 0.05\n"
    )
    scene = make_scene("hfl", raw, tmp_path, text)
    runs = [
        result_json(coterie("local", scene.contract, "--data", scene.data, "--json"))
        for _ in range(2)
    ]
    assert runs[0]["model_digest"] == runs[1]["model_digest"]


def test_a_worker_refuses_parameters_that_are_not_the_models(raw: Path, tmp_path: Path) -> None:
    text = with_dcn("hfl").replace("shape = [442, 1]", "shape = [443, 1]")
    scene = make_scene("hfl", raw, tmp_path, text)
    refused = coterie("local", scene.contract, "--data", scene.data)
    assert refused.returncode == 4
    assert "not the contract's dense parameters" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_worker_refuses_layers_that_do_not_fit(raw: Path, tmp_path: Path) -> None:
    text = with_dcn("hfl").replace("units = 117", "units = 116")
    scene = make_scene("hfl", raw, tmp_path, text)
    refused = coterie("local", scene.contract, "--data", scene.data)
    assert refused.returncode == 4
    assert "layer product of the contract's model does not fit its inputs" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_the_parameter_server_reads_the_model_without_keras(raw: Path, tmp_path: Path) -> None:
    path = tmp_path / "dcn.toml"
    path.write_text(with_dcn("hfl"))
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from coterie.contract import load_contract\n"
        "from coterie.ps.core.state import ModelState\n"
        "state = ModelState(load_contract(Path(sys.argv[1])))\n"
        "print(state.dense.size, {'tensorflow', 'keras'} & set(sys.modules))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(path)], check=True, capture_output=True, text=True
    )
    assert run.stdout.strip() == f"{117 * 117 + 117 + 442 + 1} set()"
