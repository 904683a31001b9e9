"""A trained model on a foreign host: sealed as it is written, opened at home, by its own key alone."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from coterie.cli.seal import seal_key, unseal
from coterie.errors import CoterieError, ModelDamaged, OutputInUse, SealBroken
from coterie.sealed.data_key import DataKey
from coterie.sealed.sealed_file import CHUNK_BYTES
from coterie.sealed.sealed_model import (
    VARIABLES_NAME,
    SealedModelFile,
    open_sealed_model,
    seal_model,
    sealed_name,
)
from coterie.trained.optimizer_state import STATE_NAME, read_state
from coterie.trained.trained_model import MODEL_NAME, TrainedModel
from tests.trained.test_optimizer_state import CONTRACT, state_octets
from tests.trained.test_trained_model import _octets, model_of, trained_state

KEY = DataKey("acme", b"\1" * 32, b"\2" * 32)


def sealed(path: Path, octets: bytes, pieces: int = 1) -> Path:
    keeper = SealedModelFile(path, KEY)
    size = -(-len(octets) // pieces)
    with keeper.writing(len(octets)) as target:
        for start in range(0, len(octets), size):
            target.write(octets[start : start + size])
    return keeper.path


@pytest.mark.parametrize("pieces", [1, 2, 7, 1000])
@pytest.mark.parametrize("size", [1, 999, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES])
def test_a_file_that_is_sealed_piece_by_piece_comes_back(
    size: int, pieces: int, tmp_path: Path
) -> None:
    octets = bytes(range(251)) * (size // 251 + 1)
    path = sealed(tmp_path / "m", octets[:size], pieces)
    assert bytes(open_sealed_model(path, KEY)) == octets[:size]
    assert octets[:64] not in path.read_bytes() or size < 64


@pytest.mark.parametrize(("said", "seen"), [(3, "more"), (5, "fewer")])
def test_another_size_than_was_said_leaves_nothing(tmp_path: Path, said: int, seen: str) -> None:
    with (
        pytest.raises(SealBroken) as refused,
        SealedModelFile(tmp_path / "m", KEY).writing(said) as target,
    ):
        target.write(b"rows")
    assert refused.value.seen == seen
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "other",
    [DataKey("acme", KEY.set_id, bytes(32)), DataKey("acme", bytes(32), KEY.key)],
    ids=["another key", "another id"],
)
def test_another_key_opens_nothing(tmp_path: Path, other: DataKey) -> None:
    path = sealed(tmp_path / "m", _octets())
    with pytest.raises(SealBroken, match="cannot be opened"):
        open_sealed_model(path, other)


def test_an_absent_file_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(SealBroken, match="cannot be read"):
        open_sealed_model(tmp_path / "none", KEY)


def test_a_sealed_model_is_no_model_yet(tmp_path: Path) -> None:
    path = sealed(tmp_path / "m", _octets())
    with pytest.raises(ModelDamaged, match="is sealed") as refused:
        TrainedModel.read(path)
    assert "coterie unseal" in refused.value.remedy


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A model with its optimizers' state, open."""
    folder = tmp_path / "kept"
    model_of(trained_state()).write(folder / MODEL_NAME)
    state = state_octets(trained_state(CONTRACT), model=model_of(trained_state()).digest)
    (folder / STATE_NAME).write_bytes(state)
    return folder


def test_a_model_and_its_optimizers_state_are_sealed_and_told_apart(
    kept: Path, tmp_path: Path
) -> None:
    written = seal_model(kept, tmp_path / "out", KEY)
    assert [path.name for path in written] == [f"{MODEL_NAME}.sealed", f"{STATE_NAME}.sealed"]
    for path, name in zip(written, (MODEL_NAME, STATE_NAME), strict=True):
        moved = path.rename(path.with_name("whatever"))
        assert sealed_name(moved, KEY) == name
        assert bytes(open_sealed_model(moved, KEY, name)) == (kept / name).read_bytes()
    with pytest.raises(SealBroken, match="cannot be opened"):
        sealed_name(moved, DataKey("acme", KEY.set_id, bytes(32)))
    with pytest.raises(OutputInUse, match="exists"):
        seal_model(kept, tmp_path / "out", KEY)


def test_a_model_alone_is_sealed_alone(kept: Path, tmp_path: Path) -> None:
    (kept / STATE_NAME).unlink()
    (path,) = seal_model(kept, tmp_path / "out", KEY)
    assert path.name == f"{MODEL_NAME}.sealed"


def test_a_state_of_another_model_is_not_sealed_with_it(kept: Path, tmp_path: Path) -> None:
    (kept / STATE_NAME).write_bytes(state_octets(trained_state(CONTRACT)))
    with pytest.raises(ModelDamaged, match="is of another model"):
        seal_model(kept, tmp_path / "out", KEY)
    assert not (tmp_path / "out").exists()


class TestCommands:
    """``coterie seal-key``, ``seal-model`` and ``unseal``."""

    def run(self, verb: object, *arguments: str | Path) -> BaseException | None:
        app = typer.Typer()
        app.command()(verb)  # type: ignore[type-var]
        return CliRunner().invoke(app, [str(argument) for argument in arguments]).exception

    def test_a_key_is_made_once_and_opens_what_it_sealed(self, tmp_path: Path) -> None:
        key, model = tmp_path / "acme.key", tmp_path / "model.coterie"
        assert self.run(seal_key, key, "--party", "acme") is None
        assert key.stat().st_mode & 0o077 == 0
        assert isinstance(self.run(seal_key, key, "--party", "acme"), OutputInUse)
        with SealedModelFile(tmp_path / "m", DataKey.read(key)).writing(len(_octets())) as target:
            target.write(_octets())
        assert self.run(unseal, tmp_path / "m", model, "--key", key) is None
        assert model.read_bytes() == _octets()
        assert isinstance(self.run(unseal, tmp_path / "m", model, "--key", key), OutputInUse)

    def test_what_was_opened_is_told_as_json(self, tmp_path: Path) -> None:
        KEY.write(tmp_path / "acme.key")
        path = sealed(tmp_path / "m", _octets())
        app = typer.Typer()
        app.command()(unseal)
        words = [str(path), str(tmp_path / "out"), "--key", str(tmp_path / "acme.key"), "--json"]
        told = json.loads(CliRunner().invoke(app, words).stdout)
        model = TrainedModel.read(tmp_path / "out")
        assert told == {
            "file": str(tmp_path / "out"),
            "model_digest": model.digest.hex(),
            "contract_digest": model.contract_digest.hex(),
        }

    def test_an_optimizer_state_is_opened_and_told_as_json(
        self, kept: Path, tmp_path: Path
    ) -> None:
        KEY.write(tmp_path / "acme.key")
        _, path = seal_model(kept, tmp_path / "out", KEY)
        app = typer.Typer()
        app.command()(unseal)
        words = [str(path), str(tmp_path / "s"), "--key", str(tmp_path / "acme.key"), "--json"]
        told = json.loads(CliRunner().invoke(app, words).stdout)
        state = read_state(tmp_path / "s")
        assert told == {
            "file": str(tmp_path / "s"),
            "optimizer_state": state.digest.hex(),
            "model_digest": state.model.hex(),
        }

    def test_a_programs_variables_are_opened_and_told_as_json(self, tmp_path: Path) -> None:
        KEY.write(tmp_path / "acme.key")
        path = tmp_path / "renamed"
        with SealedModelFile(path, KEY, VARIABLES_NAME).writing(9) as target:
            target.write(b"variables")
        app = typer.Typer()
        app.command()(unseal)
        out = tmp_path / "v.npz"
        words = [str(path), str(out), "--key", str(tmp_path / "acme.key"), "--json"]
        told = json.loads(CliRunner().invoke(app, words).stdout)
        assert told == {"file": str(out), "variables": hashlib.sha256(b"variables").hexdigest()}
        assert out.read_bytes() == b"variables"
        assert isinstance(self.run(unseal, path, out, "--key", tmp_path / "acme.key"), OutputInUse)

    def test_what_is_no_model_inside_is_not_written(self, tmp_path: Path) -> None:
        KEY.write(tmp_path / "acme.key")
        path = sealed(tmp_path / "m", b"something else" * 100)
        error = self.run(unseal, path, tmp_path / "out", "--key", tmp_path / "acme.key")
        assert isinstance(error, CoterieError)
        assert isinstance(error, ModelDamaged)
        assert not (tmp_path / "out").exists()
