"""A server that restarts goes on from its checkpoint, or is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from coterie.contract import Contract, contract_digest
from coterie.contract.rollback import RollbackConsent
from coterie.contract.signatures import public_key_text
from coterie.errors import (
    CheckpointDamaged,
    RollbackRefused,
    SignatureRefused,
)
from coterie.ps.checkpoints.records import DurableCheckpoint
from coterie.runs import events
from coterie.training.client import Position, ServerClient
from tests.ps.calls import (
    MakeContract,
    MakeGradients,
    MakeRun,
    exchange,
    join_request,
)
from tests.ps.conftest import Run, store


@pytest.mark.parametrize("kinds", [("sgd", "sgd"), ("adagrad", "rowwise_adagrad")])
@pytest.mark.parametrize("killed_at", range(1, 7))
def test_a_restarted_server_goes_on_to_the_very_same_model(
    make_contract: MakeContract,
    make_run: MakeRun,
    tmp_path: Path,
    killed_at: int,
    kinds: tuple[str, str],
) -> None:
    dense, rows = kinds
    contract = make_contract(
        epochs=2, checkpoint_steps=2, dense={"kind": dense}, rows={"kind": rows}
    )
    undisturbed = make_run(contract, examples=(9, 5)).finish()

    first = make_run(contract, (9, 5), store(tmp_path, contract))
    first.train_all(until=killed_at)
    first.stop()
    kept = [event.step for event in first.heard if isinstance(event, events.CheckpointWritten)]
    assert bool(kept) == (killed_at >= 2)
    second = make_run(contract, (9, 5), store(tmp_path, contract), incarnation=2)
    resumed = [event.step for event in second.heard if isinstance(event, events.Resumed)]
    assert resumed == kept[-1:]
    outcome = second.finish()

    assert outcome.model_digest == undisturbed.model_digest
    assert outcome.train_loss == undisturbed.train_loss
    assert (outcome.steps, outcome.examples) == (undisturbed.steps, undisturbed.examples)
    assert outcome.totals == undisturbed.totals


def test_training_time_is_that_of_all_lives(
    make_contract: MakeContract, make_run: MakeRun, tmp_path: Path
) -> None:
    """Of steps that are lost and trained again the last time counts."""
    contract = make_contract(epochs=2, checkpoint_steps=2)
    first = make_run(contract, (9, 5), store(tmp_path, contract))
    sessions = [first.session(worker) for worker in range(2)]
    for step in (1, 2, 3):
        first.together(lambda w, step=step: first.train(w, sessions[w], until=step))  # type: ignore[misc]
        first.pass_time(10)
    first.stop()

    second = make_run(contract, (9, 5), store(tmp_path, contract), incarnation=2)
    second.clock.now += 100
    sessions = [second.session(worker) for worker in range(2)]
    second.together(lambda w: second.train(w, sessions[w], until=3))
    second.pass_time(7)
    second.together(lambda w: second.train(w, sessions[w], until=4))
    told = [(e.step, e.seconds) for e in second.heard if isinstance(e, events.StepDone)]
    assert told == [(3, 10.0), (4, 17.0)]
    assert second.finish().seconds == 17


def test_a_restart_after_every_step_changes_nothing(
    make_contract: MakeContract, make_run: MakeRun, tmp_path: Path
) -> None:
    contract = make_contract(epochs=2, checkpoint_steps=1)
    undisturbed = make_run(contract, examples=(9, 5)).finish()
    for incarnation in range(1, 6):
        run = make_run(contract, (9, 5), store(tmp_path, contract), incarnation=incarnation)
        run.train_all(until=incarnation)
        run.stop()
    run = make_run(contract, (9, 5), store(tmp_path, contract), incarnation=6)
    assert run.finish().model_digest == undisturbed.model_digest


def test_sdt_needs_no_second_initialization_after_a_restart(
    make_contract: MakeContract, make_run: MakeRun, tmp_path: Path
) -> None:
    contract = make_contract("sdt", checkpoint_steps=1)
    first = make_run(contract, checkpoints=store(tmp_path, contract))
    first.join_all()
    first.train_all(until=1)
    first.stop()
    second = make_run(contract, checkpoints=store(tmp_path, contract), incarnation=2)
    before = second.digest
    second.join_all()  # the chief initializes again: it changes nothing
    assert second.digest == before == first.digest


def test_replies_name_the_last_durable_checkpoint(
    make_contract: MakeContract, make_run: MakeRun, tmp_path: Path, make_gradients: MakeGradients
) -> None:
    contract = make_contract(epochs=2, checkpoint_steps=2)
    run = make_run(contract, checkpoints=store(tmp_path, contract))
    run.join_all()
    durable = []
    for step in range(4):
        run.port("w0").exchange(exchange(make_gradients(0, step, 4), step))
        run.port("w1").exchange(exchange(make_gradients(1, step, 4), step))
        run.driver.checkpoints.flush()
        reply = run.port("w0").exchange(exchange(None, step + 1))
        durable.append(reply.durable.step if reply.durable else None)
    assert durable == [None, 2, 2, 4]
    written = [event for event in run.heard if isinstance(event, events.CheckpointWritten)]
    assert reply.durable is not None
    assert reply.durable.digest.hex() == written[-1].digest
    lineage = run.port("w0").join(join_request(8)).lineage
    assert lineage.durable == reply.durable
    assert [(c.step, c.digest.hex()) for c in lineage.passed] == [(2, written[0].digest)]
    assert lineage.run_id == run.driver.checkpoints.run_id


def test_a_checkpoint_is_durable_before_it_is_announced(
    make_contract: MakeContract, make_run: MakeRun, tmp_path: Path
) -> None:
    contract = make_contract(checkpoint_steps=1)
    run = make_run(contract, checkpoints=store(tmp_path, contract))
    announced: list[bool] = []

    def listen(event: events.Event) -> None:
        if isinstance(event, events.CheckpointWritten):
            announced.append(bool(list(tmp_path.glob(f"step-{event.step:012d}-*.json"))))

    run.driver.on_event = listen
    run.train_all()
    run.driver.checkpoints.flush()
    assert announced
    assert all(announced)


def test_a_damaged_checkpoint_stops_the_server_from_starting(
    make_contract: MakeContract, make_run: MakeRun, tmp_path: Path
) -> None:
    contract = make_contract(checkpoint_steps=1)
    first = make_run(contract, checkpoints=store(tmp_path, contract))
    first.train_all()
    first.stop()
    newest = max(tmp_path.glob("step-*.json"))
    newest.write_bytes(newest.read_bytes()[:-1])
    with pytest.raises(CheckpointDamaged):
        make_run(contract, checkpoints=store(tmp_path, contract), incarnation=2)


@pytest.mark.parametrize("sealed", [False, True], ids=["open", "sealed"])
def test_a_worker_refuses_a_server_that_was_rolled_back(
    make_contract: MakeContract, make_run: MakeRun, tmp_path: Path, sealed: bool
) -> None:
    contract = make_contract(epochs=2, checkpoint_steps=1)
    old, new = tmp_path / "old", tmp_path / "new"
    run = make_run(contract, checkpoints=store(new, contract, sealed=sealed))
    server = [run]
    sessions = [run.session(w, lambda w=w: server[0].port(f"w{w}")) for w in (0, 1)]  # type: ignore[misc]
    run.together(lambda w: run.train(w, sessions[w], until=2))
    run.driver.checkpoints.flush()
    kept = [event.step for event in run.heard if isinstance(event, events.CheckpointWritten)][-1]
    shutil.copytree(new, old)
    run.together(lambda w: run.train(w, sessions[w], until=3))
    run.driver.checkpoints.flush()
    run.together(lambda w: sessions[w].through_restarts(lambda _: None))  # hears of the checkpoint
    run.stop()
    again = store(old, contract, sealed=sealed)
    server[0] = make_run(contract, checkpoints=again, incarnation=2)

    def rejoin(worker: int) -> None:
        with pytest.raises(RollbackRefused) as refused:
            sessions[worker].through_restarts(lambda position: position)
        assert refused.value.expected.startswith(f"run {run.driver.checkpoints.run_id}, step ")
        assert f", step {kept} (SHA-256 " in refused.value.seen

    run.together(rejoin)


@pytest.mark.parametrize("further", [0, 1], ids=["as far", "further"])
def test_another_run_of_the_same_contract_is_refused_by_those_who_remember_the_first(
    make_contract: MakeContract, make_run: MakeRun, tmp_path: Path, further: int
) -> None:
    """Its files open, since contract and parties are the same: its name tells it apart."""
    contract = make_contract(epochs=2, checkpoint_steps=1)
    mine, other = (
        make_run(contract, checkpoints=store(tmp_path / name, contract, sealed=True))
        for name in ("mine", "other")
    )
    server = [mine]
    sessions = [mine.session(w, lambda w=w: server[0].port(f"w{w}")) for w in (0, 1)]  # type: ignore[misc]
    for step in (1, 2):
        mine.together(lambda w, step=step: mine.train(w, sessions[w], until=step))  # type: ignore[misc]
        mine.driver.checkpoints.flush()
    mine.together(lambda w: sessions[w].through_restarts(lambda _: None))
    other.state.dense[0] += 1
    for step in range(1, 3 + further):
        other.train_all(until=step)
        other.driver.checkpoints.flush()
    for run in (mine, other):
        run.stop()
    again = store(tmp_path / "other", contract, sealed=True)
    server[0] = make_run(contract, checkpoints=again, incarnation=2)

    def rejoin(worker: int) -> None:
        with pytest.raises(RollbackRefused, match="goes on with another run") as refused:
            sessions[worker].through_restarts(lambda position: position)
        assert refused.value.expected.startswith(f"run {mine.driver.checkpoints.run_id}, step 2 ")
        assert refused.value.seen.startswith(
            f"run {other.driver.checkpoints.run_id}, step {2 + further} "
        )

    server[0].together(rejoin)


def test_a_run_that_was_set_back_and_went_on_is_refused_by_those_who_remember_more(
    make_contract: MakeContract, make_run: MakeRun, tmp_path: Path
) -> None:
    """Workers that forgot train on from an old copy, further than the one who remembers had seen."""
    contract = make_contract(epochs=3, checkpoint_steps=1)
    run = make_run(contract, checkpoints=store(tmp_path / "new", contract))
    server = [run]
    sessions = [run.session(w, lambda w=w: server[0].port(f"w{w}")) for w in (0, 1)]  # type: ignore[misc]
    for step in (1, 2, 3):
        run.together(lambda w, step=step: run.train(w, sessions[w], until=step))  # type: ignore[misc]
        run.driver.checkpoints.flush()
        if step == 1:
            shutil.copytree(tmp_path / "new", tmp_path / "old")
    run.together(lambda w: sessions[w].through_restarts(lambda _: None))
    run.stop()
    fork = make_run(contract, checkpoints=store(tmp_path / "old", contract), incarnation=2)
    fork.life.state.dense[0] += 1  # else the same steps make the very same checkpoints
    for step in (2, 3, 4):
        fork.train_all(until=step)
        fork.driver.checkpoints.flush()
    fork.stop()
    server[0] = make_run(contract, checkpoints=store(tmp_path / "old", contract), incarnation=3)
    assert server[0].state.step == 4

    def rejoin(worker: int) -> None:
        with pytest.raises(RollbackRefused, match=r"older checkpoint .* or from another one"):
            sessions[worker].through_restarts(lambda position: position)

    server[0].together(rejoin)


class TestConsent:
    """The newest checkpoint is lost; all parties agree to go on from a copy of an older one."""

    @pytest.fixture
    def lost(self, make_contract: MakeContract, make_run: MakeRun, tmp_path: Path) -> Lost:
        return Lost(make_contract(epochs=3, checkpoint_steps=1), make_run, tmp_path)

    def test_the_run_goes_on_from_there_and_the_same_consent_counts_once(self, lost: Lost) -> None:
        consent = lost.consent()
        lost.restart("copy", consent)
        lost.together(lambda position: position.step == 1)
        lost.train(until=2)
        announced = lost.newest
        lost.restart("copy", consent)  # as it is now, the option left where it was
        lost.together(lambda position: position.step == 2)
        lost.restart("second copy", consent)

        def refused(worker: int) -> None:
            with pytest.raises(RollbackRefused, match="was used before: it is for one time") as why:
                lost.sessions[worker].through_restarts(lambda _: None)
            assert why.value.seen == consent.words

        lost.server.together(refused)
        assert announced.step < lost.given_up.step, "the replay is within what was given up"

    def test_a_worker_that_was_away_finds_it_in_the_checkpoints_since(self, lost: Lost) -> None:
        consent = lost.consent()
        lost.restart("copy", consent)
        late = lost.sessions[1]
        lost.sessions[1] = lost.session(1)  # another process of the node goes on in its place
        for step in (2, 3):
            lost.train(until=step)
        lost.restart("copy", None)
        lost.sessions[1] = late
        lost.together(lambda position: position.step == 3)

    def test_without_it_the_copy_is_refused(self, lost: Lost) -> None:
        lost.restart("copy", None)

        def refused(worker: int) -> None:
            with pytest.raises(RollbackRefused, match="restored from an older checkpoint"):
                lost.sessions[worker].through_restarts(lambda _: None)

        lost.server.together(refused)

    @pytest.mark.parametrize(
        "other", [{"run_id": "0b" * 32}, {"step": 2}, {"digest": bytes(32)}], ids=str
    )
    def test_a_server_does_not_start_with_one_for_something_else(
        self, lost: Lost, other: dict[str, object]
    ) -> None:
        with pytest.raises(SignatureRefused, match="is for another checkpoint than the server"):
            lost.restart("copy", replace(lost.consent(), **other))  # type: ignore[arg-type]


class Lost:
    """A run at step 3 whose server is gone, and two copies of its folder as it was at step 1."""

    def __init__(self, contract: Contract, make_run: MakeRun, folder: Path) -> None:
        self.keys = {party.name: Ed25519PrivateKey.generate() for party in contract.parties}
        parties = [
            party.model_copy(update={"key": public_key_text(self.keys[party.name])})
            for party in contract.parties
        ]
        self.contract = contract.model_copy(update={"parties": tuple(parties)})
        self._make_run, self._folder, self._incarnation = make_run, folder, 0
        self.server = self.start("new", None)
        self.sessions = [self.session(worker) for worker in (0, 1)]
        for step in (1, 2, 3):
            self.train(until=step)
            if step == 1:
                self.kept = self.newest
                for name in ("copy", "second copy"):
                    shutil.copytree(folder / "new", folder / name)
        self.given_up = self.newest

    @property
    def newest(self) -> DurableCheckpoint:
        assert self.server.core.announced is not None
        return self.server.core.announced

    def start(self, name: str, consent: RollbackConsent | None) -> Run:
        self._incarnation += 1
        checkpoints = store(self._folder / name, self.contract, sealed=True)
        return self._make_run(
            self.contract, checkpoints=checkpoints, incarnation=self._incarnation, consent=consent
        )

    def restart(self, name: str, consent: RollbackConsent | None) -> None:
        self.server.stop()
        self.server = self.start(name, consent)

    def session(self, worker: int) -> ServerClient:
        return self.server.session(worker, lambda: self.server.port(f"w{worker}"))

    def together(self, holds: Callable[[Position], bool]) -> None:
        def join(worker: int) -> None:
            assert self.sessions[worker].through_restarts(holds)

        self.server.together(join)

    def train(self, until: int) -> None:
        self.server.together(lambda w: self.server.train(w, self.sessions[w], until=until))
        self.server.driver.checkpoints.flush()
        self.together(lambda _: True)  # everybody hears of the checkpoint

    def consent(self) -> RollbackConsent:
        consent = RollbackConsent(
            contract_digest(self.contract),
            self.server.core.lineage.run_id,
            self.kept.step,
            self.kept.digest,
            self.given_up.step,
            self.given_up.digest,
            {},
        )
        for party, key in self.keys.items():
            consent = consent.signed_by(self.contract, key, party)
        return consent
