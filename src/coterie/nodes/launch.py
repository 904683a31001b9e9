"""Whole runs on this machine, as ``coterie run``, ``local``, ``bench`` and the demo start them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from coterie.contract import Contract
from coterie.contract.expiry import check_in_force
from coterie.data.manifest import read_manifest
from coterie.nodes.fabric import no_key
from coterie.nodes.process import check_engine
from coterie.nodes.supervisor import Supervisor
from coterie.runs.directory import open_run_directory
from coterie.runs.evaluation_file import Evaluation
from coterie.runs.event_log import all_of, event_log, read_events
from coterie.runs.events import EventSink, Finished
from coterie.runs.result import OwnQualities, PartyRows, RunResult, TransportName, result_of
from coterie.runs.result_file import write_result
from coterie.trained.optimizer_state import STATE_NAME
from coterie.trained.trained_model import MODEL_NAME, PlainModelFile
from coterie.training.start_giver import StartFiles, check_named

ATTESTED_NODE = (sys.executable, "-m", "coterie", "node")


def run_processes(
    contract: Contract,
    data: Path,
    out: Path,
    on_event: EventSink,
    *,
    transport: TransportName = "ra-tls",
    command: Sequence[str] = ATTESTED_NODE,
    compare_alone: bool = False,
    start: Path | None = None,
    host_clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> RunResult:
    """Runs every node of a contract as a process of its own; resumes an interrupted run.

    Args:
        contract: The contract.
        data: Folder with one prepared data set per data-owning party, named after the party.
        out: The run's directory.
        on_event: Receives all events.
        transport: Name of the transport that ``command`` uses.
        command: The command that starts a node.
        compare_alone: Whether every worker also trains its party's own model, and writes the gain
            from joining into its own folder; attested runs of mode ``hfl`` only.
        start: Folder of the files that the run starts from, if the contract has a start.
        host_clock: The time now, UTC; nothing is started under a contract that has ended.

    Returns:
        The result; for a finished run, its existing result.

    Raises:
        CoterieError: The run failed; no process is left.
    """
    check_engine(contract)
    check_named(contract, start)
    if not out.exists():  # check before anything is started or written
        check_in_force(contract, host_clock())
        for owner in contract.data_owners():
            read_manifest(data / owner.party, contract.data, party=owner.party)
    with open_run_directory(out, contract, transport) as directory:
        finished = directory.result()
        if finished is not None:
            return finished
        check_in_force(contract, host_clock())
        options = ("--compare-alone",) if compare_alone else ()
        result = Supervisor(
            directory, data, command, on_event, worker_options=options, start=start
        ).run()
        own = OwnQualities()
        for owner in contract.data_owners():  # include events from before an interruption
            for event in read_events(directory.node(owner.name)):
                own.on_event(event)
        result = result.model_copy(
            update={"by_party": own.of(contract), "rows": _rows(contract, data)}
        )
        directory.keep_receipt(directory.contract.by_role("ps")[0].name, start)
        directory.finish(result)
        return result


def _rows(contract: Contract, data: Path) -> dict[str, PartyRows]:
    """Every data owner's rows, by party."""
    found = {}
    for owner in contract.data_owners():
        manifest = read_manifest(data / owner.party, contract.data, party=owner.party)
        found[owner.party] = PartyRows(
            train=manifest.train.rows,
            validation=manifest.validation.rows,
            test=manifest.test.rows,
        )
    return found


def run_in_process(
    contract: Contract,
    data: Path,
    on_event: EventSink,
    *,
    out: Path | None = None,
    compare: bool = False,
    start: Path | None = None,
) -> RunResult:
    """Runs every node of a contract as a thread of this process, over the in-memory transport.

    Args:
        contract: The contract.
        data: Folder with one prepared data set per data-owning party, named after the party.
        on_event: Receives all events.
        out: The run's directory: new, or that of an interrupted run of the same contract, which is
            resumed. It gets checkpoints, the result, all files of a report, and the trained model.
            If absent, nothing is kept.
        compare: Whether to train also on each company's data alone and on all data in one place;
            ``hfl`` with ``out`` only. For public or synthetic data, since it reads all parties'
            rows. Not for a run with a start, whose model has seen more than its rows.
        start: Folder of the files that the run starts from, if the contract has a start.

    Raises:
        OutputInUse: ``out`` holds something else, or another process uses it.
        CoterieError: The run failed.
    """
    from coterie.data.dataset import open_dataset
    from coterie.nodes.baselines import ScoreKeeper, compare_in_the_clear
    from coterie.nodes.local import run_local

    check_engine(contract)
    check_named(contract, start)
    compare &= contract.start is None
    keeper = ScoreKeeper()
    with ExitStack() as stack:
        own = OwnQualities()
        sinks = [on_event, own.on_event]
        directory = None
        if out is not None:
            directory = stack.enter_context(open_run_directory(out, contract, "memory"))
            finished = directory.result()
            if finished is not None:
                return finished
            sinks.append(stack.enter_context(event_log(out)))
        outcome = run_local(
            contract,
            lambda node: open_dataset(data / node.party, contract.data, party=node.party),
            all_of(*sinks),
            out_of=(lambda node: directory.node(node.name)) if directory is not None else None,
            scores_of=keeper.sink_of if compare else None,
            keep_model=PlainModelFile(out / MODEL_NAME) if out is not None else None,
            keep_state=PlainModelFile(out / STATE_NAME) if out is not None else None,
            start=_start(contract, start),
        )
        result = result_of(outcome, contract, "memory").model_copy(
            update={
                "by_party": own.of(contract),
                "finished": datetime.now(UTC),
                "rows": _rows(contract, data),
            }
        )
        on_event(Finished(result.model_dump(mode="json")))
        if out is not None:
            Evaluation.of(outcome).write(out)
            scores = keeper.of(contract.data_owners()) if compare else None
            comparison = compare_in_the_clear(contract, data, outcome, scores) if scores else None
            if comparison is not None:
                comparison.write(out)
            write_result(out, result)
        return result


def _start(contract: Contract, folder: Path | None) -> StartFiles | None:
    if folder is None:
        return None

    def key_of(set_id: bytes) -> bytes:
        raise no_key("of this process", f"a run without attestation, and files {set_id.hex()[:16]}")

    return StartFiles(contract, folder, key_of)
