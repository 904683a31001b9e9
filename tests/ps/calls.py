"""Messages as nodes send them, and what the server's answers must be."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from coterie.contract import Contract
from coterie.metrics.histogram import ScoreHistogram
from coterie.ps.core.aggregation import Gradients, push_weights, sum_gradients
from coterie.ps.core.evaluation import SPLITS, SplitCounts
from coterie.ps.core.state import ModelState
from coterie.ps.wire import ps_pb2 as pb
from coterie.ps.wire.frames import ExchangeReply, ExchangeRequest, Push, octets_of
from tests.ps.conftest import Run

MakeRun = Callable[..., Run]
MakeContract = Callable[..., Contract]
MakeGradients = Callable[..., Gradients]
DIGEST = bytes(32)
EVERY_ROW = np.arange(15, dtype="<i4").tobytes()


def push_of(gradients: Gradients) -> Push:
    """A push as a worker sends it."""
    return Push(
        examples=gradients.examples,
        loss_sum=gradients.loss_sum,
        dense_gradient=octets_of(gradients.dense_p),
        row_ids=octets_of(gradients.row_ids_u),
        row_gradients=octets_of(gradients.rows_ud),
        correct=gradients.correct,
    )


def join_request(examples: int) -> pb.JoinRequest:
    """A worker's join."""
    return pb.JoinRequest(train_examples=examples, data_set_digest=DIGEST)


def exchange(gradients: Gradients | None, step: int, *, ps_incarnation: int = 1) -> ExchangeRequest:
    """A push, or a pull where there are no gradients, that asks for the first twelve rows."""
    return ExchangeRequest(
        ps_incarnation=ps_incarnation,
        step=step,
        push=push_of(gradients) if gradients is not None else None,
        next_row_ids=np.arange(12, dtype="<i4").tobytes(),
    )


def content(reply: ExchangeReply) -> tuple[int, bool, bytes, bytes]:
    """What a reply says, apart from times."""
    return reply.step, reply.pending, bytes(reply.dense_parameters), bytes(reply.rows)


def mean_gradients(pushes: list[Gradients]) -> Gradients:
    """The plain mean over all examples."""
    weights = push_weights(
        [push.examples for push in pushes], None, update_norm=None, party_weight=1.0
    )
    return sum_gradients(pushes, weights)


def state_after(contract: Contract, *steps: list[Gradients]) -> ModelState:
    """What the server's state must be, computed without it."""
    state = ModelState(contract)
    for pushes in steps:
        state.apply(mean_gradients(pushes), first_of_epoch=False)
    return state


def calls(run: Run, node: str, incarnation: int = 1, ps: int = 1) -> list[Callable[[], object]]:
    """Every call that needs a standing with the server."""
    port = run.port(node, incarnation)
    return [
        lambda: port.exchange(exchange(None, 0, ps_incarnation=ps)),
        lambda: port.lookup(pb.LookupRequest(ps_incarnation=ps)),
        lambda: port.report(pb.ReportRequest(ps_incarnation=ps)),
    ]


def counts(examples: int) -> list[pb.EvaluationCounts]:
    """Evaluation counts of some examples."""
    labels = np.arange(examples) % 2
    histogram = ScoreHistogram.count(np.linspace(-1, 1, examples), labels.astype(np.float64))
    return [SplitCounts(split, histogram).to_wire() for split in SPLITS]


def validation_counts(rows: int, loss: float) -> SplitCounts:
    """Counts of validation rows of which each has the same loss."""
    logit = np.log(np.expm1(loss))  # of label 0: log(1 + exp(logit)) is the loss
    labels = np.arange(rows) % 2
    logits = np.where(labels, -logit, logit)
    return SplitCounts("validation", ScoreHistogram.count(logits, labels.astype(np.float64)))


def report(run: Run, node: str, examples: int = 20) -> pb.ReportReply:
    """A node's report of the counts of some examples: the first answer."""
    return run.port(node).report(pb.ReportRequest(ps_incarnation=1, counts=counts(examples)))


def totals(run: Run, node: str, examples: int = 20) -> pb.ReportReply:
    """A node's report, repeated until the totals are there."""
    while (reply := report(run, node, examples)).pending:
        pass
    return reply
