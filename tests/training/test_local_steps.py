"""Local steps against the same written out in float64, with a model of one's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from coterie.arrays import Float64Array
from coterie.contract import Contract, RateSchedule, StartSection, TrainingSection, load_contract
from coterie.data.examples import Batch
from coterie.ps.core.aggregation import Gradients
from coterie.training.local_steps import local_delta
from coterie.training.messages import Parameters
from coterie.training.step import StepGradients, WorkerStep, unique_rows

DIM, COLUMNS, NUMERIC = 2, 3, 4
SUMS = {"adagrad": NUMERIC, "factored_adagrad": 2 + 2}
STEPS = 3
CONTRACT = load_contract(Path("examples/hfl.toml"))
RATE = 0.05


class QuadraticStep:
    """A WorkerStep of a model whose gradients one can write down: a linear score, squared error."""

    shapes = ((NUMERIC // 2, 2),)

    def gradients(
        self,
        dense_p: np.ndarray[tuple[int], np.dtype[np.float32]],
        dense_bn: np.ndarray[tuple[int, int], np.dtype[np.float32]],
        embedded_bmd: np.ndarray[tuple[int, int, int], np.dtype[np.float32]],
        labels_b: np.ndarray[tuple[int], np.dtype[np.float32]],
    ) -> StepGradients:
        score = dense_bn @ dense_p + embedded_bmd.sum(axis=(1, 2))
        error = (score - labels_b).astype(np.float32)
        return StepGradients(
            examples=len(labels_b),
            loss_sum=float((error**2).sum() / 2),
            correct=int(((score > 0) == (labels_b > 0)).sum()),
            dense_p=(error[:, None] * dense_bn).sum(axis=0),
            embedded_bmd=np.broadcast_to(error[:, None, None], embedded_bmd.shape).copy(),
        )


def batch_of(examples: int, seed: int = 1) -> Batch:
    random = np.random.default_rng(seed)
    return Batch(
        labels_b=(random.random(examples) < 0.3).astype(np.float32),
        dense_bn=random.random((examples, NUMERIC)).astype(np.float32),
        ids_bm=random.integers(0, 5, (examples, COLUMNS)).astype(np.int32) * 3,
    )


def training_of(
    dense: str = "sgd", rows: str = "sgd", *, steps: int = STEPS, proximal: float = 0.0
) -> TrainingSection:
    local = {
        "dense": {"kind": dense, "learning_rate": RATE},
        "rows": {"kind": rows, "learning_rate": RATE, "initial_accumulator": 0.5},
        "proximal": proximal,
    }
    server: dict[str, object] = {"dense": {}, "rows": {}}
    schedule = RateSchedule(warmup_steps=4)
    return TrainingSection.model_validate(
        {"local_steps": steps, "local": local, "schedule": schedule, **server}
    )


def start_of(batch: Batch, dense: str = "sgd", rows: str = "sgd", *, step: int = 1) -> Parameters:
    """A model, and what its optimizers kept so far."""
    random = np.random.default_rng(7)
    count = unique_rows(batch.ids_bm).ids_u.size
    width = {"sgd": 0, "adagrad": DIM, "rowwise_adagrad": 1, "lazy_adam": 2 * DIM}[rows]
    return Parameters(
        step=step,
        dense_p=random.random(NUMERIC).astype(np.float32),
        sums_s=random.random(SUMS.get(dense, 0)).astype(np.float32),
        rows_ud=random.random((count, DIM)).astype(np.float32),
        state_us=random.random((count, width)).astype(np.float32),
    )


def pushed_by(
    batch: Batch, start: Parameters, training: TrainingSection, contract: Contract = CONTRACT
) -> Gradients:
    step: WorkerStep = QuadraticStep()  # type: ignore[assignment]  # only ``gradients`` is called
    contract = contract.model_copy(update={"training": training})
    return local_delta(step, batch, unique_rows(batch.ids_bm), start, contract)


class Reference:
    """One optimizer in float64, for one parameter or row; ``state`` as in ps/core/optimizers.py."""

    def __init__(self, kind: str, state: Float64Array, initial: float) -> None:
        self._kind, self.state, self._initial = kind, state, initial

    def direction(self, g: Float64Array, taken: int) -> Float64Array:
        match self._kind:
            case "momentum":
                self.state = 0.9 * self.state + g
                return self.state
            case "nesterov":
                self.state = 0.9 * self.state + g
                return g + 0.9 * self.state
            case "adagrad" | "rowwise_adagrad":
                squares = g * g
                self.state = self.state + (squares if self._kind == "adagrad" else squares.mean())
                return g / (np.sqrt(self.state + self._initial) + 1e-8)
            case "factored_adagrad":
                rows, columns = np.split(self.state, 2)
                squares = (g * g).reshape(2, 2)
                rows, columns = rows + squares.mean(axis=1), columns + squares.mean(axis=0)
                self.state = np.concatenate((rows, columns))
                outer = rows[:, None] * columns / rows.mean()
                factored: Float64Array = g / (np.sqrt(outer).reshape(-1) + 1e-8)
                return factored
            case "adam" | "lazy_adam":
                m, v = np.split(self.state, 2)
                m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
                self.state = np.concatenate((m, v))
                correction = np.sqrt(1 - 0.999 ** (taken + 1)) / (1 - 0.9 ** (taken + 1))
                moved: Float64Array = correction * m / (np.sqrt(v) + 1e-8)
                return moved
        return g


def reference(
    batch: Batch, start: Parameters, training: TrainingSection
) -> tuple[float, Float64Array, Float64Array, Float64Array, Float64Array]:
    """Loss, dense parameters, their optimizer's state, rows and theirs after the local steps."""
    local = training.local_training
    assert local is not None
    factor = min(1.0, (start.step + 1) / 4)  # of the warm-up over four steps
    unique = unique_rows(batch.ids_bm)
    dense, rows = start.dense_p.astype(np.float64), start.rows_ud.astype(np.float64)
    moments = {"momentum": NUMERIC, "nesterov": NUMERIC, "adam": 2 * NUMERIC}
    kept = start.sums_s.astype(np.float64)  # moments begin anew
    kept = np.zeros(moments[local.dense.kind]) if local.dense.kind in moments else kept
    of_dense = Reference(local.dense.kind, kept, 0.0)
    of_rows = [
        Reference(local.rows.kind, state.astype(np.float64), 0.5) for state in start.state_us
    ]
    loss, examples = 0.0, len(batch.labels_b)
    for i in range(training.local_steps):
        part = slice(
            examples * i // training.local_steps, examples * (i + 1) // training.local_steps
        )
        labels, numeric = batch.labels_b[part], batch.dense_bn[part].astype(np.float64)
        if not len(labels):
            continue
        places = unique.inverse_bm[part]
        error = numeric @ dense + rows[places].sum(axis=(1, 2)) - labels
        loss += float((error**2).sum() / 2)
        change = np.zeros_like(rows)
        for one, line in zip(error, places, strict=True):
            for place in line:
                change[place] += one / len(labels)
        gradient = (error[:, None] * numeric).sum(axis=0) / len(labels)
        gradient += local.proximal * (dense - start.dense_p)
        pulled = change + local.proximal * (rows - start.rows_ud)
        dense = dense - RATE * factor * of_dense.direction(gradient, i)
        for place in sorted(set(places.reshape(-1).tolist())):
            taken = start.step * training.local_steps + i
            rows[place] -= RATE * factor * of_rows[place].direction(pulled[place], taken)
    return loss, dense, of_dense.state, rows, np.array([one.state for one in of_rows])


KINDS = [
    ("sgd", "sgd"),
    ("momentum", "adagrad"),
    ("nesterov", "rowwise_adagrad"),
    ("adagrad", "lazy_adam"),
    ("factored_adagrad", "rowwise_adagrad"),
    ("adam", "adagrad"),
    ("adam", "sgd"),
]


@pytest.mark.parametrize("proximal", [0.0, 0.5])
@pytest.mark.parametrize(("dense", "rows"), KINDS)
@pytest.mark.parametrize("examples", [8, 24, 19, 2])
def test_a_push_is_the_change_of_the_workers_copy_times_its_examples(
    examples: int, dense: str, rows: str, proximal: float
) -> None:
    batch, training = batch_of(examples), training_of(dense, rows, proximal=proximal)
    start = start_of(batch, dense, rows)
    loss, dense_after, sums_after, rows_after, state_after = reference(batch, start, training)

    pushed = pushed_by(batch, start, training)

    assert pushed.examples == examples
    assert pushed.loss_sum == pytest.approx(loss, rel=1e-5)
    np.testing.assert_array_equal(pushed.row_ids_u, unique_rows(batch.ids_bm).ids_u)
    expected = (start.dense_p - dense_after) * examples
    np.testing.assert_allclose(pushed.dense_p[:NUMERIC], expected, rtol=1e-3, atol=1e-4)
    if start.sums_s.size:
        grown = (sums_after - start.sums_s) * examples
        np.testing.assert_allclose(pushed.dense_p[NUMERIC:], grown, rtol=1e-3, atol=1e-4)
    assert pushed.dense_p.size == NUMERIC + SUMS.get(dense, 0)
    expected = (start.rows_ud - rows_after) * examples
    np.testing.assert_allclose(pushed.rows_ud[:, :DIM], expected, rtol=1e-3, atol=1e-4)
    grown = (state_after - start.state_us) * examples
    np.testing.assert_allclose(pushed.rows_ud[:, DIM:], grown, rtol=1e-3, atol=1e-4)


def test_a_worker_with_one_example_takes_one_step_however_many_the_others_take() -> None:
    batch = batch_of(1)
    start = start_of(batch, step=4)
    embedded = np.take(start.rows_ud, unique_rows(batch.ids_bm).inverse_bm, axis=0)
    gradient = QuadraticStep().gradients(start.dense_p, batch.dense_bn, embedded, batch.labels_b)
    pushed = pushed_by(batch, start, TrainingSection(local_steps=5, local_learning_rate=RATE))
    np.testing.assert_allclose(pushed.dense_p, RATE * gradient.dense_p, rtol=1e-4)
    np.testing.assert_allclose(pushed.rows_ud, RATE * gradient.embedded_bmd[0], rtol=1e-4)


@pytest.mark.parametrize("state", ["new", "ab" * 32], ids=["new state", "state goes on"])
def test_a_run_that_goes_on_counts_its_starts_updates(state: str) -> None:
    """Rates go by all updates; the bias of moments goes by those that their state has seen."""
    batch, training = batch_of(24), training_of("sgd", "lazy_adam")
    start = StartSection(model="cd" * 32, contract="cd" * 32, step=2, optimizer_state=state)
    going_on = CONTRACT.model_copy(update={"start": start})
    pushed = pushed_by(batch, start_of(batch, "sgd", "lazy_adam", step=1), training, going_on)
    warm = training.model_copy(update={"schedule": RateSchedule()})  # as in the fourth step
    seen = 1 if state == "new" else 3
    expected = pushed_by(batch, start_of(batch, "sgd", "lazy_adam", step=seen), warm)
    assert pushed.dense_p.tobytes() == expected.dense_p.tobytes()
    assert pushed.rows_ud.tobytes() == expected.rows_ud.tobytes()


@pytest.mark.parametrize(("dense", "rows"), KINDS)
def test_a_push_follows_from_what_the_server_sent_alone(dense: str, rows: str) -> None:
    """So a worker that was killed pushes the very same again: nothing is kept from step to step."""
    batch, training = batch_of(24), training_of(dense, rows)
    start = start_of(batch, dense, rows)
    arrays = (start.dense_p, start.sums_s, start.rows_ud, start.state_us)
    kept = [array.copy() for array in arrays]
    first = pushed_by(batch, start, training)
    other = batch_of(24, seed=2)
    pushed_by(other, start_of(other, dense, rows, step=2), training)
    again = pushed_by(batch, start, training)
    assert first.dense_p.tobytes() == again.dense_p.tobytes()
    assert first.rows_ud.tobytes() == again.rows_ud.tobytes()
    for before, after in zip(kept, arrays, strict=True):
        assert before.tobytes() == after.tobytes()
