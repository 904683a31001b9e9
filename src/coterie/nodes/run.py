"""Whole runs on this machine, as ``coterie run``, ``local``, ``bench`` and the demo start them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from coterie.contract import Contract, Node
from coterie.nodes.run_directory import open_run_directory
from coterie.nodes.supervisor import Supervisor
from coterie.ps.events import EventSink
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
        directory.finish(result)
        return result


def run_in_process(contract: Contract, data: Path, on_event: EventSink) -> RunResult:
    """Runs every node of a contract as a thread of this process, over the in-memory transport.

    Args:
        contract: What is trained, by whom.
        data: Holds one prepared data set per data-owning party, in a folder of its name.
        on_event: Hears what happens.

    Raises:
        CoterieError: The run failed.
    """
    from coterie.nodes.local import run_local

    owners = {node.name for node in contract.data_owners()}

    def data_of(node: Node) -> Path | None:
        return data / node.party if node.name in owners else None

    outcome = run_local(contract, data_of, on_event)
    return result_of(outcome, contract, "memory")
