"""One node as a process: picks the role's program, reports events, turns errors into exit codes."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from coterie.contract import Contract, Node
from coterie.errors import ContractInvalid, CoterieError
from coterie.files import machine_error, only_writer
from coterie.nodes.fabric import Fabric, NodeContext, NoReceipt, RunReceipt
from coterie.nodes.options import NodeOptions, check_comparable, check_start_giver
from coterie.running_time import RunningTime
from coterie.runs.events import Event, EventSink, Failed, Finished, Started, StoodStill
from coterie.runs.run_files import keep_contract
from coterie.spans import Tracer, untraced

if TYPE_CHECKING:  # modules for one role only are imported there
    from coterie.contract.rollback import RollbackConsent
    from coterie.runs.result import RunResult, TransportName
    from coterie.training.step import StepMaker


def check_engine(contract: Contract) -> None:
    """Checks that a contract is for Coterie's own training.

    Raises:
        ContractInvalid: It has a ``[tensorflow]`` section.
    """
    if contract.tensorflow is not None:
        raise ContractInvalid(
            f"contract {contract.name} is one for a TensorFlow program",
            expected="no section [tensorflow]",
            seen="[tensorflow]",
            remedy="use `coterie tensorflow run` and `coterie tensorflow node`, or remove the section",
        )


def new_incarnation() -> int:
    """A number larger than that of any earlier process of this node: milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def run_node(
    contract: Contract,
    node: Node,
    options: NodeOptions,
    make_fabric: Callable[[EventSink, int], Fabric],
    transport: TransportName,
    *,
    on_event: EventSink,
    consent: RollbackConsent | None = None,
    make_step: StepMaker | None = None,
    tracer: Tracer = untraced,
) -> None:
    """Runs one node until it is done.

    Args:
        contract: The contract.
        node: This process's entry in it.
        options: The host's settings.
        make_fabric: Connects the node, given its event sink and incarnation.
        transport: Name of the fabric's transport.
        on_event: Receives all events; the last is ``Finished`` (shard 0) or ``Failed``.
        consent: All parties' consent to continue from an older checkpoint; parameter servers only.
        make_step: As in ``NodeContext``.
        tracer: As in ``NodeContext``.

    Raises:
        OutputInUse: Another process uses ``out`` or ``memory``; raised before any event.
        EnvironmentUnfit: They cannot be written; raised before any event.
        CoterieError: The node failed; ``on_event`` has received ``Failed``.
    """
    check_engine(contract)
    check_comparable(contract, node, options)
    with _held(options.out, options.memory):
        # After the folder is locked, so that the process that holds it has the larger number.
        incarnation = new_incarnation()
        on_event(Started(node.name, node.role, node.party))
        receipt: RunReceipt = NoReceipt()

        def report(event: Event) -> None:
            receipt.on_event(event)
            on_event(event)

        ran = RunningTime(on_gap=lambda seconds: report(StoodStill(node.name, round(seconds, 1))))
        ticking = ExitStack()
        try:
            ticking.enter_context(ran.ticking())
            fabric = make_fabric(on_event, incarnation)
            try:
                if options.out is not None and node == contract.by_role("ps")[0]:
                    receipt = fabric.open_receipt(options.out)
                context = NodeContext(
                    contract=contract,
                    node=node,
                    fabric=fabric,
                    incarnation=incarnation,
                    on_event=report,
                    monotonic=ran,
                    out=options.out,
                    memory=options.memory or options.out,
                    consent=consent,
                    receipt=receipt,
                    make_step=make_step,
                    tracer=tracer,
                )
                result = _run_role(context, options, transport, receipt)
                if result is not None:
                    on_event(Finished(result.model_dump(mode="json")))
            finally:
                fabric.close()
        except (CoterieError, OSError) as error:
            known = _known(node, error)
            report(Failed(node.name, known.exit_code, known.to_dict()))
            if known is error:
                raise
            raise known from error
        finally:
            ticking.close()
            receipt.close()


def _run_role(
    context: NodeContext, options: NodeOptions, transport: TransportName, receipt: RunReceipt
) -> RunResult | None:
    """Imports and runs the program of the node's role only; shard 0 returns the result."""
    check_start_giver(context.contract, context.node, options)
    if context.node.role == "ps":
        from coterie.nodes.server_node import serve

        return serve(context, transport, receipt)
    from coterie.nodes.participant import equipped

    context = equipped(context, options, keeps=transport == "ra-tls")
    if context.out is not None:  # for the report on its own part
        keep_contract(context.out, context.contract)
    if context.node.role == "chief":
        from coterie.nodes.chief_node import run_chief

        run_chief(context)
    else:
        from coterie.nodes.worker_node import run_and_compare, run_worker

        (run_and_compare if options.compare_alone else run_worker)(context)
    return None


@contextmanager
def _held(*folders: Path | None) -> Iterator[None]:
    """Locks folders, each once."""
    with ExitStack() as held:
        for folder in sorted({folder for folder in folders if folder is not None}):
            held.enter_context(only_writer(folder))
        yield


def _known(node: Node, error: CoterieError | OSError) -> CoterieError:
    """The error as a CoterieError, also for an unexpected error of a file."""
    if isinstance(error, OSError):
        return machine_error(f"node {node.name} cannot go on", error)
    return error


def end_with_parent(before_end: Callable[[], None] = lambda: None) -> None:
    """Ends this process when its parent ends, which holds the other end of standard input.

    Args:
        before_end: Called before the end, on a thread of its own.
    """

    def watch() -> None:
        # Do not use sys.stdin: a thread that holds its lock makes the interpreter abort at exit.
        while os.read(0, 4096):
            pass
        try:
            before_end()
        finally:
            os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
