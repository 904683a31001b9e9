"""All nodes of a contract in one process, over the in-memory fabric: the reference for every run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from coterie.contract import Contract, Node
from coterie.criteo.dataset import DataSet
from coterie.errors import CoterieError
from coterie.nodes.fabric import Fabric, ModelKeeper, NodeContext
from coterie.nodes.memory import MemoryFabric, MemoryHub
from coterie.nodes.roles import run_chief, run_parameter_server, run_worker
from coterie.ps.events import EventSink
from coterie.ps.outcome import RunOutcome
from coterie.start.giving import StartFiles
from coterie.training.evaluation import ScoreSink


def run_local(
    contract: Contract,
    open_data: Callable[[Node], DataSet],
    on_event: EventSink,
    *,
    fabric_of: Callable[[MemoryHub, Node], Fabric] = MemoryFabric,
    keep_model: ModelKeeper | None = None,
    keep_state: ModelKeeper | None = None,
    start: StartFiles | None = None,
    scores_of: Callable[[Node], ScoreSink] | None = None,
) -> RunOutcome:
    """Runs a contract in this process; keeps nothing on disk but the trained model, if asked to.

    Args:
        contract: What is trained, by whom.
        open_data: Opens the data of a node that owns some.
        on_event: Hears what happens.
        fabric_of: Connects a node to the others.
        keep_model: Where the first of the nodes that get the trained model keeps it.
        keep_state: Where it keeps the optimizers' state, if the contract gives that out.
        start: What the run goes on from.
        scores_of: Gives each data owner who hears its held-out rows' scores.

    Raises:
        CoterieError: Any node failed; the others are stopped.
    """
    hub = MemoryHub(contract)
    keeping = contract.model_recipients()[:1]

    def context(node: Node) -> NodeContext:
        return NodeContext(
            contract=contract,
            node=node,
            fabric=fabric_of(hub, node),
            incarnation=1,
            on_event=on_event,
            monotonic=time.monotonic,
            open_data=(lambda: open_data(node)) if node in contract.data_owners() else None,
            keep_model=keep_model if node in keeping else None,
            keep_state=keep_state if node in keeping else None,
            start=start if node == contract.start_giver() else None,
            on_scores=scores_of(node) if scores_of and node in contract.data_owners() else None,
            discloses_everything=True,  # who runs it has all of the data anyway
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


def _guarded(hub: MemoryHub, run: Callable[[NodeContext], object], context: NodeContext) -> None:
    try:
        run(context)
    except CoterieError as error:
        hub.fail(error)
    except Exception as error:
        hub.fail(CoterieError(f"node {context.node.name} failed: {error!r}"))
        raise
