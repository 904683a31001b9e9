"""What cannot be written is an error of the tree for every verb, before anything is trained."""

from __future__ import annotations

import errno
import json
import os
import re
from pathlib import Path

import pytest

from faults.disk import no_room
from faults.scene import Scene, scenes
from tests.cli.conftest import Run
from tests.conftest import REPOSITORY

EXAMPLE = str(REPOSITORY / "examples" / "hfl.toml")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return scenes(tmp_path_factory.mktemp("scene"))["hfl"]


VERBS = {
    "run": ("run", "{contract}", "--data", "{data}", "--out", "{bad}"),
    "run, board": (
        *("run", "{contract}", "--data", "{data}", "--out", "{good}", "--tensorboard", "{bad}"),
    ),
    "local": ("local", "{contract}", "--data", "{data}", "--out", "{bad}"),
    "local, board": ("local", "{contract}", "--data", "{data}", "--tensorboard", "{bad}"),
    "bench": ("bench", "{contract}", "--data", "{data}", "--out", "{bad}"),
    "demo": ("demo", "--out", "{bad}", "--rows", "1000"),
    "node": ("node", "{contract}", "ps0", "--out", "{bad}", "--party-key", "{key}"),
    "node, board": (
        *("node", "{contract}", "ps0", "--party-key", "{key}", "--tensorboard", "{bad}"),
    ),
    "synthesize": ("synthesize", "{bad}.tsv", "--rows", "1000"),
    "keygen": ("contract", "keygen", "{bad}.pem"),
}


@pytest.mark.parametrize("words", VERBS.values(), ids=VERBS)
def test_a_file_in_a_folders_place(
    words: tuple[str, ...], scene: Scene, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    places = {
        "contract": scene.file,
        "data": scene.data,
        "key": scene.keys["operator"],
        "bad": tmp_path / "file" / "below",
        "good": tmp_path / "good",
    }
    ran = run(*(word.format(**places) for word in words))
    assert ran.code == 7, ran.err
    assert "Traceback" not in ran.err
    said = re.sub(" +", " ", ran.err)
    assert any(f"seen: {os.strerror(code)}" in said for code in (errno.ENOTDIR, errno.EEXIST))
    assert "remedy:" in ran.err
    assert (tmp_path / "file").read_text() == "mine"
    assert not (tmp_path / "good").exists()


@pytest.mark.parametrize("verb", ["run", "local"])
def test_a_disk_without_room_and_the_same_command_once_there_is(
    verb: str, scene: Scene, run: Run, tmp_path: Path
) -> None:
    words = (verb, scene.file, "--data", scene.data, "--out", tmp_path / "out", "--json")
    with no_room(600):  # what the command prints goes to a file here, too
        ran = run(*words)
    assert ran.code == 7
    assert ran.value["error"] == "EnvironmentUnfit"
    assert ran.value["seen"] == "File too large"
    assert set(tmp_path.glob("out/*")) <= {tmp_path / "out" / ".lock"}


NEW_CONTRACT = {
    "init": ("init", "{out}", "--scheme", "hfl", "--party", "acme", "--party", "bolt", "--yes"),
    "pin": ("contract", "pin", EXAMPLE, "{values}", "--role", "worker", "--out", "{out}"),
}


@pytest.mark.parametrize("words", NEW_CONTRACT.values(), ids=NEW_CONTRACT)
def test_a_disk_without_room_leaves_no_half_contract(
    words: tuple[str, ...], run: Run, tmp_path: Path
) -> None:
    values = {"format": 1, "tee": "simulated", "values": {"mrenclave": ["11" * 32]}}
    (tmp_path / "values.json").write_text(json.dumps(values))
    places = {"out": tmp_path / "new.toml", "values": tmp_path / "values.json"}
    command = (*(word.format(**places) for word in words), "--json")
    with no_room(600):
        ran = run(*command)
    assert (ran.value["error"], ran.value["seen"]) == ("OutputInUse", "File too large")
    assert not places["out"].exists()
    assert run(*command).code == 0
