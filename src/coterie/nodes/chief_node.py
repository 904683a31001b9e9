"""The program of a chief's node, the same over every fabric."""

from __future__ import annotations

from functools import partial

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
from coterie.training import chief
from coterie.training.evaluation import evaluate, validate


def run_chief(context: NodeContext) -> None:
    """Initializes the model, delivers the data, waits for the training, evaluates."""
    with unless_done(context):
        _lead_training(context)


def _lead_training(context: NodeContext) -> None:
    contract = context.contract
    with telling(context.fabric, context.node):
        data_set = open_data(context)
        check_start(context)
    deliveries = chief.Deliveries(
        contract,
        data_set.train,
        context.fabric.data_receiver,
        on_event=context.on_event,
    )
    with (
        client_of(context, None, b"", while_waiting=deliveries.check) as session,
        deliveries.going_on(),
    ):
        worker_step = compiled_step(context, session)
        exact = context.discloses_everything
        if contract.start is None:
            chief.initialize(contract, session)
        chief.wait_trained(
            contract,
            session,
            partial(validate, session, data_set.validation, worker_step, exact=exact),
        )
        evaluate(session, data_set, worker_step, context.on_scores, exact=exact)
        take_model(context, session)
        session.leave()
