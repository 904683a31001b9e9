"""``coterie local``: it goes on after an interruption, and leaves a finished run as it is."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from coterie.contract import load_contract
from coterie.nodes.launch import run_in_process
from coterie.runs import events
from tests.system.conftest import (
    Ran,
    Scene,
    contract_text,
    coterie,
    environment,
    make_scene,
    result_json,
)

pytestmark = pytest.mark.system


def test_an_interrupted_run_goes_on_from_its_checkpoint(raw: Path, tmp_path: Path) -> None:
    text = contract_text("hfl").replace("epochs = 1", "epochs = 40")
    scene = make_scene("hfl", raw, tmp_path, text.replace("every_steps = 5", "every_steps = 100"))
    command = ("local", scene.contract, "--data", scene.data, "--json")
    process = subprocess.Popen(
        [sys.executable, "-m", "coterie", *map(str, command), "--out", str(tmp_path / "run")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        text=True,
    )
    assert process.stderr is not None
    seen = next(line for line in process.stderr if ": checkpoint at step" in line)
    process.send_signal(signal.SIGINT)
    out, said = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, ""), said
    (stopped,) = (line for line in said.splitlines() if line.startswith("stopped after step "))
    assert "; the same command goes on after step " in stopped
    assert not (tmp_path / "run" / "result.json").exists()

    again = coterie(*command, "--out", tmp_path / "run")
    resumed = [line for line in again.stderr.splitlines() if ": resumed from step" in line]
    assert len(resumed) == 1, again.stderr
    assert int(resumed[0].split("step ")[1].split(",")[0]) >= int(
        seen.split("step ")[1].split(",")[0]
    )
    whole = result_json(coterie(*command, "--out", tmp_path / "whole", "--no-compare"))
    result = result_json(again)
    for key in ("model_digest", "steps", "examples", "test_auc", "validations", "by_party"):
        assert result[key] == whole[key]
    assert (tmp_path / "run" / "comparison.json").exists()


def test_a_last_epoch_that_learned_its_rows_by_heart_is_told(raw: Path, tmp_path: Path) -> None:
    """The final evaluation is no validation, but it is held against those before."""
    text = contract_text("hfl").replace("epochs = 1", "epochs = 2")
    text = text.replace('every_steps = 5\nkeep = "best"', 'each_epoch = true\nkeep = "last"')
    scene = make_scene("hfl", raw, tmp_path, text.replace("0.05", "0.2"))
    heard: list[events.Event] = []
    result = run_in_process(load_contract(scene.contract), scene.data, heard.append)
    (validation,) = result.validations
    assert validation.step == result.steps // 2
    assert [event for event in heard if isinstance(event, events.Overfitting)] == [
        events.Overfitting(result.steps)
    ]


def test_a_finished_run_is_left_as_it_is(hfl: Scene, hfl_local: Ran) -> None:
    before = (hfl_local.out / "result.json").read_bytes()
    again = coterie("local", hfl.contract, "--data", hfl.data, "--json", "--out", hfl_local.out)
    assert result_json(again) == json.loads(before)
    assert (hfl_local.out / "result.json").read_bytes() == before


def test_a_directory_of_another_run_is_refused(hfl: Scene, sdt_local: Ran) -> None:
    done = coterie("local", hfl.contract, "--data", hfl.data, "--json", "--out", sdt_local.out)
    assert done.returncode == 7
    error = json.loads(done.stdout)
    assert (error["error"], error["remedy"]) == (
        "OutputInUse",
        "name another --out DIR; the same contract resumes its own run",
    )
