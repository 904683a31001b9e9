"""Whole runs on this machine, as ``coterie run``, ``local``, ``bench`` and the demo start them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from coterie.contract import Contract, Node
from coterie.nodes.run_directory import open_run_directory, require_empty, write_result
from coterie.nodes.supervisor import Supervisor
from coterie.ps.events import EventSink
from coterie.trained.model import MODEL_NAME, PlainModelFile
from coterie.training.results import RunResult, TransportName, result_of

ATTESTED_NODE = (sys.executable, "-m", "coterie", "node")


def run_processes(
    contract: Contract,
    data: Path,
    out: Path,
    on_event: EventSink,
    *,
    transport: TransportName = "ra-tls",
    command: Sequence[str] = ATTESTED_NODE,
) -> RunResult:
    """Runs every node of a contract as a process of its own; resumes an interrupted run.

    Args:
        contract: What is trained, by whom.
        data: Holds one prepared data set per data-owning party, in a folder of its name.
        out: The run's directory.
        on_event: Hears what happens.
        transport: Name of the transport that ``command`` uses.
        command: What starts a node.

    Returns:
        The result; of a run that has already finished, the one that it left.

    Raises:
        CoterieError: The run failed; no process is left.
    """
    with open_run_directory(out, contract, transport) as directory:
        finished = directory.result()
        if finished is not None:
            return finished
        result = Supervisor(directory, data, command, on_event).run()
        directory.keep_receipt(directory.contract.by_role("ps")[0].name)
        directory.finish(result)
        return result


def run_in_process(
    contract: Contract, data: Path, on_event: EventSink, *, out: Path | None = None
) -> RunResult:
    """Runs every node of a contract as a thread of this process, over the in-memory transport.

    Args:
        contract: What is trained, by whom.
        data: Holds one prepared data set per data-owning party, in a folder of its name.
        on_event: Hears what happens.
        out: Gets the result and the trained model; nothing is kept where it is absent.

    Raises:
        OutputInUse: ``out`` holds something already.
        CoterieError: The run failed.
    """
    from coterie.criteo.dataset import open_dataset
    from coterie.nodes.local import run_local

    if out is not None:
        require_empty(out)
    outcome = run_local(
        contract,
        lambda node: open_dataset(data / node.party, contract.data, party=node.party),
        on_event,
        keep_model=PlainModelFile(out / MODEL_NAME) if out is not None else None,
    )
    result = result_of(outcome, contract, "memory")
    if out is not None:
        write_result(out, result)
    return result


def run_alone(contract: Contract, worker: Node, data: Path, on_event: EventSink) -> RunResult:
    """Trains one HFL company by itself, and evaluates it on everybody's validation and test rows.

    A comparison in the clear: for public or synthetic data only (it reads all parties' rows).

    Args:
        contract: The joint contract, mode ``hfl``.
        worker: The company's worker in it.
        data: Holds every party's prepared data set.
        on_event: Hears what happens.

    Raises:
        CoterieError: The run failed.
    """
    from coterie.criteo.dataset import DataSet, open_dataset
    from coterie.criteo.shards import join_shards
    from coterie.nodes.local import run_local

    everybody = [
        open_dataset(data / node.party, contract.data, party=node.party)
        for node in contract.data_owners()
    ]
    own = everybody[contract.data_owners().index(worker)]
    pooled = DataSet(
        manifest=own.manifest,
        train=own.train,
        validation=join_shards([data_set.validation for data_set in everybody]),
        test=join_shards([data_set.test for data_set in everybody]),
    )
    alone = contract.model_copy(update={"nodes": (*contract.by_role("ps"), worker)})
    return result_of(run_local(alone, lambda _: pooled, on_event), alone, "memory")
