"""A worker keeps the variables in its node's folder, and begins with them when it comes back."""

from __future__ import annotations

import secrets
from pathlib import Path

import numpy as np
import pytest

from coterie.contract import load_contract
from coterie.errors import CheckpointDamaged, CoterieError, EnvironmentUnfit, SealBroken
from coterie.sealed.data_key import DataKey
from coterie.sealed.sealed_model import sealed_name
from coterie.tensorflow import variables_file
from coterie.tensorflow.variables_file import VariablesFile, give_file, own_file
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.tensorflow

CONTRACT = load_contract(REPOSITORY / "examples" / "tensorflow" / "federated.toml")
WORKER = CONTRACT.node("worker0")
KEY = (secrets.token_bytes(32), secrets.token_bytes(32))


@pytest.fixture(autouse=True)
def no_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variables_file, "_own", None)


def trained(steps: int, every: int = 2, width: int = 3) -> tuple[int | None, list[float]]:
    """Trains some steps in a session of this process; the step it began with, and the variable at the end."""
    import tensorflow as tf

    from coterie.tensorflow.checkpoints import CheckpointHook

    v1 = tf.compat.v1
    with tf.Graph().as_default():
        step = v1.train.get_or_create_global_step()
        value = v1.get_variable("value", (width,), initializer=v1.ones_initializer())
        update = v1.assign_add(value, tf.ones([width]))
        with tf.control_dependencies([update]):
            done = v1.assign_add(step, 1)
        hook = CheckpointHook(every)
        init, feeds = hook.initial(v1.global_variables_initializer())
        scaffold = v1.train.Scaffold(init_op=init, init_feed_dict=feeds)
        creator = v1.train.ChiefSessionCreator(scaffold)
        with v1.train.MonitoredSession(creator, [hook]) as session:
            for _ in range(steps):
                session.run(done)
            return hook.restored_step, session.run(value).tolist()


@pytest.mark.parametrize("key", [None, KEY])
def test_training_goes_on_where_it_was_left(
    tmp_path: Path, key: tuple[bytes, bytes] | None
) -> None:
    give_file(lambda: VariablesFile(tmp_path, WORKER, key))
    assert trained(5) == (None, [6.0] * 3)
    assert trained(1) == (5, [7.0] * 3)
    (path,) = tmp_path.iterdir()
    kept = own_file().read()
    assert kept is not None
    assert set(kept) == {"value", "global_step"}
    assert kept["global_step"] == 6
    if key is None:
        assert path.name == "variables.npz"
        assert np.load(path)["value"].tolist() == [7.0] * 3
    else:
        assert path.name == "variables.npz.sealed"
        assert sealed_name(path, DataKey("acme", *key)) == "variables.npz"
        assert b"value" not in path.read_bytes()


def test_a_checkpoint_is_written_every_few_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []

    class Noting(VariablesFile):
        def write(self, variables: variables_file.Variables) -> None:
            steps.append(int(variables["global_step"]))
            super().write(variables)

    give_file(lambda: Noting(tmp_path, WORKER, None))
    trained(7, every=3)
    assert steps == sorted(set(steps))
    assert steps[-1] == 7
    assert len(steps) in {2, 3}  # a step is read beside the update, before or after it


def test_a_program_without_a_node_is_told() -> None:
    with pytest.raises(EnvironmentUnfit) as refused:
        trained(1)
    assert refused.value.what == "this program has no place for its variables"
    assert "--out DIR" in refused.value.remedy


def altered(path: Path) -> None:
    octets = bytearray(path.read_bytes())
    octets[len(octets) // 2] ^= 1
    path.write_bytes(octets)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def pickled(path: Path) -> None:
    np.savez(path, value=np.array([{}], dtype=object))


@pytest.mark.parametrize(
    ("key", "damage", "expected"),
    [
        (None, altered, CheckpointDamaged),
        (None, cut, CheckpointDamaged),
        (None, pickled, CheckpointDamaged),
        (KEY, altered, SealBroken),
        (KEY, cut, SealBroken),
    ],
)
def test_a_damaged_checkpoint_is_refused(
    tmp_path: Path, key: tuple[bytes, bytes] | None, damage: object, expected: type[CoterieError]
) -> None:
    give_file(lambda: VariablesFile(tmp_path, WORKER, key))
    trained(1)
    (path,) = tmp_path.iterdir()
    assert callable(damage)
    damage(path)
    with pytest.raises(expected):
        trained(1)


def test_a_checkpoint_under_another_key_is_refused(tmp_path: Path) -> None:
    give_file(lambda: VariablesFile(tmp_path, WORKER, KEY))
    trained(1)
    other = (KEY[0], secrets.token_bytes(32))
    give_file(lambda: VariablesFile(tmp_path, WORKER, other))
    with pytest.raises(SealBroken):
        trained(1)


def test_a_checkpoint_of_another_program_is_refused(tmp_path: Path) -> None:
    give_file(lambda: VariablesFile(tmp_path, WORKER, None))
    trained(1)
    with pytest.raises(CheckpointDamaged) as refused:
        trained(1, width=4)
    assert refused.value.what == "the checkpoint of this node is of another program: variable value"
    assert (refused.value.expected, refused.value.seen) == ("float32 [4]", "float32 [3]")
