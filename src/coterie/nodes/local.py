"""All nodes of a contract in one process, over the in-memory fabric: the reference for every run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from coterie.contract import Contract, Node
from coterie.data.dataset import DataSet
from coterie.errors import CoterieError
from coterie.nodes.chief_node import run_chief
from coterie.nodes.fabric import Fabric, ModelKeeper, NodeContext
from coterie.nodes.in_process import InProcessFabric, InProcessHub
from coterie.nodes.process import new_incarnation
from coterie.nodes.server_node import CHECKPOINTS, run_parameter_server
from coterie.nodes.worker_node import run_worker
from coterie.ps.checkpoints.end_records import forget_end
from coterie.runs.events import EventSink
from coterie.runs.outcome import RunOutcome
from coterie.training.evaluation import ScoreSink
from coterie.training.start_giver import StartFiles


def run_local(
    contract: Contract,
    open_data: Callable[[Node], DataSet],
    on_event: EventSink,
    *,
    fabric_of: Callable[[InProcessHub, Node], Fabric] = InProcessFabric,
    out_of: Callable[[Node], Path] | None = None,
    keep_model: ModelKeeper | None = None,
    keep_state: ModelKeeper | None = None,
    start: StartFiles | None = None,
    scores_of: Callable[[Node], ScoreSink] | None = None,
) -> RunOutcome:
    """Runs a contract in this process; resumes from the checkpoints of an earlier process.

    Args:
        contract: The contract.
        open_data: Opens the data set of a node that owns data.
        on_event: Receives all events.
        fabric_of: Connects a node to the others.
        out_of: Gives a parameter server's folder for checkpoints; if absent, none are kept.
        keep_model: File of the trained model, at the first node that receives it.
        keep_state: File of the optimizers' state there, if the contract gives it out.
        start: Files that the run starts from.
        scores_of: Gives each data owner the sink of its held-out rows' scores.

    Raises:
        CoterieError: Any node failed; the others are stopped.
    """
    hub, incarnation = InProcessHub(contract), new_incarnation()
    keeping = contract.model_recipients()[:1]
    if out_of is not None:
        for server in contract.by_role("ps"):
            # All nodes end together, so none can miss the end of an earlier run.
            forget_end(out_of(server) / CHECKPOINTS)

    def context(node: Node) -> NodeContext:
        return NodeContext(
            contract=contract,
            node=node,
            fabric=fabric_of(hub, node),
            incarnation=incarnation,
            on_event=on_event,
            monotonic=time.monotonic,
            out=out_of(node) if out_of is not None and node.role == "ps" else None,
            open_data=(lambda: open_data(node)) if node in contract.data_owners() else None,
            keep_model=keep_model if node in keeping else None,
            keep_state=keep_state if node in keeping else None,
            start=start if node == contract.start_giver() else None,
            on_scores=scores_of(node) if scores_of and node in contract.data_owners() else None,
            discloses_everything=True,  # the user has all of the data anyway
        )

    lead, *followers = contract.by_role("ps")
    programs = [
        *((node, run_parameter_server) for node in followers),
        *((node, run_worker) for node in contract.by_role("worker")),
        *((node, run_chief) for node in contract.by_role("chief")),
    ]
    threads = [
        threading.Thread(target=_guarded, args=(hub, run, context(node))) for node, run in programs
    ]
    for thread in threads:
        thread.start()
    try:
        outcome = run_parameter_server(context(lead))
    except BaseException as error:
        hub.fail(error if isinstance(error, CoterieError) else CoterieError(f"stopped: {error!r}"))
        raise
    finally:
        for thread in threads:
            thread.join()
    if outcome is None:
        raise AssertionError
    return outcome


def _guarded(hub: InProcessHub, run: Callable[[NodeContext], object], context: NodeContext) -> None:
    try:
        run(context)
    except CoterieError as error:
        hub.fail(error)
    except Exception as error:
        hub.fail(CoterieError(f"node {context.node.name} failed: {error!r}"))
        raise
