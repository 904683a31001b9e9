"""The program of a worker's node, the same over every fabric."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from coterie.data.examples import Examples
from coterie.metrics.histogram import ScoreHistogram
from coterie.metrics.released import ReleasedScores
from coterie.nodes.fabric import NodeContext
from coterie.nodes.participant import (
    check_start,
    client_of,
    compiled_step,
    open_data,
    take_model,
    telling,
    unless_done,
)
from coterie.ps.core.aggregation import Gradients
from coterie.ps.core.disclosure import Disclosure
from coterie.runs.events import (
    OwnQuality,
    Waiting,
    WorkerTimes,
)
from coterie.training.client import ServerClient
from coterie.training.data_transfer import DataInbox
from coterie.training.evaluation import evaluate, validate
from coterie.training.step import WorkerStep
from coterie.training.step_reports import OwnSteps
from coterie.training.worker import Trainer
from coterie.waiting import Patience

_ASK_SECONDS = 2.0
_log = logging.getLogger(__name__)


def run_worker(context: NodeContext) -> None:
    """Trains on the party's own data (HFL) or on the data that the chief delivers (SDT)."""
    with unless_done(context):
        _work(context)


def run_and_compare(context: NodeContext) -> None:
    """Runs a worker, then compares the joint model with one trained on its party's data alone."""
    from coterie.nodes.baselines import ScoreKeeper, compare_privately

    keeper = ScoreKeeper()
    run_worker(replace(context, on_scores=keeper.sink_of(context.node)))
    scores = keeper.of((context.node,))
    if scores is None or context.open_data is None or context.out is None:
        return  # the node was restarted after the run: the joint model's scores are gone
    comparison = compare_privately(context.contract, context.node, context.open_data(), scores)
    if comparison is None:
        _log.warning("no comparison: a class has fewer test rows than limits.evaluation_minimum")
    else:
        comparison.write(context.out)


def _work(context: NodeContext) -> None:
    contract = context.contract
    if contract.mode == "hfl":
        with telling(context.fabric, context.node):
            data_set = open_data(context)
            digest = bytes.fromhex(data_set.manifest.entry("train").sha256)
            check_start(context)
        with client_of(context, data_set.train, digest) as session:
            worker_step = compiled_step(context, session)
            times = _train(context, session, data_set.train, worker_step, data_set.validation)
            evaluate(
                session,
                data_set,
                worker_step,
                context.on_scores,
                partial(_tell_own_quality, context),
                exact=context.discloses_everything,
            )
            take_model(context, session)
            session.leave(times)
        return
    inbox = DataInbox(contract.data, max_bytes=contract.enclave.size_gib << 30)
    with context.fabric.serve_data_receiver(inbox):
        try:
            with telling(context.fabric, context.node):
                check_start(context)
            with client_of(context, None, b"") as session:
                worker_step = compiled_step(context, session)
                delivered = _await_data(context, inbox, session)
            if delivered is None:
                return
            shard, digest = delivered
            with client_of(context, shard, digest) as session:
                times = _train(context, session, shard, worker_step)
                take_model(context, session)
                session.leave(times)
        finally:
            inbox.close()


def _await_data(
    context: NodeContext, inbox: DataInbox, session: ServerClient
) -> tuple[Examples, bytes] | None:
    """Waits for the chief's delivery; None if the training has already ended.

    A worker that is restarted after the last step finds no chief, and only has to leave.
    """
    patience = context.contract.limits.join_seconds
    began = context.monotonic()
    deadline, saying = began + patience, Patience()
    chiefs = tuple(chief.name for chief in context.contract.by_role("chief"))
    while not inbox.arrived(_ASK_SECONDS) and (now := context.monotonic()) < deadline:
        if saying.due(now, began):
            waited, left = round(now - began, 1), round(deadline - now, 1)
            context.on_event(Waiting(context.node.name, chiefs, waited, left, "its data"))
        if session.training_ended():
            take_model(context, session)
            session.leave()
            return None
    return inbox.wait(0)


def _train(
    context: NodeContext,
    session: ServerClient,
    shard: Examples,
    worker_step: WorkerStep,
    validation: Examples | None = None,
) -> WorkerTimes:
    contract = context.contract
    validates: Callable[[int], None] | None = None
    if validation is not None:
        exact = context.discloses_everything
        validates = partial(validate, session, validation, worker_step, exact=exact)
    least = contract.limits.evaluation_minimum if contract.mode == "hfl" else None
    own = OwnSteps(context.node.name, least, context.monotonic())

    def on_step(step: int, steps: int, pushed: Gradients) -> None:
        progress = own.add(step, steps, pushed, context.monotonic())
        if progress is not None:
            context.on_event(progress)

    trainer = Trainer(
        session,
        shard,
        worker_step,
        contract,
        worker=contract.by_role("worker").index(context.node),
        validate=validates,
        on_step=on_step,
        monotonic=context.monotonic,
        tracer=context.tracer,
    )
    trainer.train()
    times = trainer.times(context.node.name)
    context.on_event(times)
    return times


def _tell_own_quality(context: NodeContext, split: str, counts: ScoreHistogram) -> None:
    """Reports the model's quality on the party's own test rows to its host, if they are enough."""
    if split != "test":
        return
    least = 1 if context.discloses_everything else context.contract.limits.evaluation_minimum
    rule = Disclosure(least, 1)
    told = bool(rule.allows([counts.examples]))
    metrics = ReleasedScores.of([counts], rule.allows).metrics() if told else None
    context.on_event(
        OwnQuality(
            node=context.node.name,
            party=context.node.party,
            examples=counts.examples,
            auc=metrics.auc if metrics else None,
            log_loss=metrics.log_loss if metrics else None,
            calibration=metrics.calibration if metrics else None,
        )
    )
