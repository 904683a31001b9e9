"""One node as a process: picks the role's program, reports events, turns errors into exit codes."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from coterie.contract import Contract, Node, canonical_json
from coterie.contract.rollback import RollbackConsent
from coterie.errors import ContractInvalid, CoterieError, DataError
from coterie.files import machine_error, only_writer, write_whole, writing
from coterie.nodes.fabric import Fabric, ModelKeeper, NodeContext, NoReceipt, RunReceipt
from coterie.parameters.optimizer_state import STATE_NAME
from coterie.parameters.trained_model import MODEL_NAME, PlainModelFile
from coterie.running_time import RunningTime
from coterie.runs.directory import CONTRACT
from coterie.runs.evaluation_file import Evaluation
from coterie.runs.events import Event, EventSink, Failed, Finished, Started, StoodStill
from coterie.runs.outcome import RunOutcome
from coterie.runs.result import RunResult, TransportName, result_of
from coterie.runs.result_file import write_result
from coterie.training.start_giver import StartFiles

if TYPE_CHECKING:  # opening data sets is for data owners; a parameter server never loads it
    from coterie.data.dataset import DataSet

_log = logging.getLogger(__name__)


def check_engine(contract: Contract) -> None:
    """Checks that a contract is one for Coterie's own training.

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
    make_fabric: Callable[[EventSink, int], Fabric],
    transport: TransportName,
    *,
    data: Path | None,
    sealed_only: bool = False,
    out: Path | None,
    memory: Path | None = None,
    on_event: EventSink,
    consent: RollbackConsent | None = None,
    compare_alone: bool = False,
    start: Path | None = None,
) -> None:
    """Runs one node until it is done.

    Args:
        contract: What is trained, by whom.
        node: This process's entry in it.
        make_fabric: Connects the node, given its event sink and incarnation.
        transport: Name of what the fabric is made of.
        data: The party's prepared data set, where the node owns data.
        sealed_only: Whether a data set in the clear is refused, since the host could have made it.
        out: Where checkpoints and the result go, on the parameter server, and the trained model.
        memory: Where the node remembers announced checkpoints; absent: in ``out``.
        on_event: Hears what happens; at last ``Finished`` (shard 0) or ``Failed``.
        consent: To go on from an older checkpoint, if all parties gave it; parameter servers only.
        compare_alone: Once the run is over for this worker, train its party's own model, too, and
            write to ``out`` what joining was worth on the party's own test rows.
        start: Folder of what the run goes on from, at the node that gives it.

    Raises:
        OutputInUse: Another process uses ``out`` or ``memory``; nobody has heard of this one.
        EnvironmentUnfit: They cannot be written, likewise.
        CoterieError: The node failed; ``on_event`` has heard of it.
    """
    from coterie.nodes.roles import run_parameter_server, telling

    check_engine(contract)
    if compare_alone:
        _check_comparable(contract, node, out)
    with _held(out, memory):
        incarnation = new_incarnation()  # of two processes, the one that holds the folder is newer
        on_event(Started(node.name, node.role, node.party))
        receipt: RunReceipt = NoReceipt()

        def hear(event: Event) -> None:
            receipt.hear(event)
            on_event(event)

        ran = RunningTime(on_gap=lambda seconds: hear(StoodStill(node.name, round(seconds, 1))))
        ticking = ExitStack()
        try:
            ticking.enter_context(ran.ticking())
            fabric = make_fabric(on_event, incarnation)
            try:
                if out is not None and node == contract.by_role("ps")[0]:
                    receipt = fabric.open_receipt(out)
                with telling(fabric, node):
                    keeps = transport == "ra-tls"
                    keepers = _keepers(contract, node, fabric, out) if keeps else (None, None)
                context = NodeContext(
                    contract=contract,
                    node=node,
                    fabric=fabric,
                    incarnation=incarnation,
                    on_event=hear,
                    monotonic=ran,
                    open_data=_opener(contract, node, data, fabric, sealed_only=sealed_only),
                    out=out,
                    memory=memory or out,
                    consent=consent,
                    receipt=receipt,
                    keep_model=keepers[0],
                    keep_state=keepers[1],
                    start=_start(contract, node, fabric, start),
                )
                if node.role == "ps":
                    results = _Results(contract, transport, out, receipt)
                    outcome = run_parameter_server(replace(context, on_outcome=results.keep))
                    if outcome is not None:
                        on_event(Finished(results.complete(outcome).model_dump(mode="json")))
                else:
                    _take_part(context, compare_alone=compare_alone)
            finally:
                fabric.close()
        except (CoterieError, OSError) as error:
            known = _known(node, error)
            hear(Failed(node.name, known.exit_code, known.to_dict()))
            if known is error:
                raise
            raise known from error
        finally:
            ticking.close()
            receipt.close()


@contextmanager
def _held(*folders: Path | None) -> Iterator[None]:
    """Holds folders, each once."""
    with ExitStack() as held:
        for folder in sorted({folder for folder in folders if folder is not None}):
            held.enter_context(only_writer(folder))
        yield


def _known(node: Node, error: CoterieError | OSError) -> CoterieError:
    """The error in the tree, also where it is of a file that nobody thought of."""
    if isinstance(error, OSError):
        return machine_error(f"node {node.name} cannot go on", error)
    return error


def _keep_contract(folder: Path, contract: Contract) -> None:
    path = folder / CONTRACT
    with writing(path):
        write_whole(path, canonical_json(contract))


class _Results:
    """Writes what came out, once it is kept: no node that is slow to leave holds that up."""

    def __init__(
        self, contract: Contract, transport: TransportName, out: Path | None, receipt: RunReceipt
    ) -> None:
        self._contract = contract
        self._transport: TransportName = transport
        self._out = out
        self._receipt = receipt
        self._failure: CoterieError | None = None

    def keep(self, outcome: RunOutcome) -> None:
        """Writes result and receipt; what goes wrong is told at the end: nodes still need the model."""
        try:
            if self._out is not None:
                _keep_contract(self._out, self._contract)
                Evaluation.of(outcome).write(self._out)
            self._receipt.finish(self._result(outcome), outcome.end)
        except CoterieError as error:
            self._failure = error

    def complete(self, outcome: RunOutcome) -> RunResult:
        """Writes the result again, with everybody's times.

        Raises:
            CoterieError: Something could not be written.
        """
        result = self._result(outcome)
        if self._failure is not None:
            raise self._failure
        return result

    def _result(self, outcome: RunOutcome) -> RunResult:
        result = result_of(outcome, self._contract, self._transport).model_copy(
            update={"finished": datetime.now(UTC)}
        )
        if self._out is not None:
            write_result(self._out, result)
        return result


def _check_comparable(contract: Contract, node: Node, out: Path | None) -> None:
    anew = contract.start is None
    if contract.mode == "hfl" and node.role == "worker" and out is not None and anew:
        return
    raise ContractInvalid(
        f"node {node.name} has nothing to compare the joint model with",
        expected="a worker of a contract of mode hfl that begins anew, and a directory for what it finds",
        seen=f"a {node.role} of a contract of mode {contract.mode}, "
        + ("no directory" if out is None else "a directory")
        + ("" if anew else ", and a [start]: the joint model knows more than this run's rows"),
        remedy="leave --compare-alone away, or give it to a company's worker with --out DIR",
    )


def _take_part(context: NodeContext, *, compare_alone: bool) -> None:
    """Runs a worker or chief."""
    from coterie.nodes.roles import run_chief, run_worker

    if context.out is not None:  # for the report of its own part
        _keep_contract(context.out, context.contract)
    if context.node.role == "chief":
        run_chief(context)
    elif compare_alone:
        _run_and_compare(context)
    else:
        run_worker(context)


def _run_and_compare(context: NodeContext) -> None:
    """Runs a worker; then compares the joint model with one of its party's data alone."""
    from coterie.nodes.baselines import ScoreKeeper, compare_privately
    from coterie.nodes.roles import run_worker

    keeper = ScoreKeeper()
    run_worker(replace(context, on_scores=keeper.sink_of(context.node)))
    scores = keeper.of((context.node,))
    if scores is None or context.open_data is None or context.out is None:
        return  # the node came back to a run that it had finished: the joint model is gone
    comparison = compare_privately(context.contract, context.node, context.open_data(), scores)
    if comparison is None:
        _log.warning("no comparison: a class has fewer test rows than limits.evaluation_minimum")
    else:
        comparison.write(context.out)


def _opener(
    contract: Contract, node: Node, data: Path | None, fabric: Fabric, *, sealed_only: bool
) -> Callable[[], DataSet] | None:
    """Opens the party's data set: as it is, or, if it is sealed, in memory with a fetched key."""
    if data is None:
        return None
    from coterie.data.dataset import open_dataset
    from coterie.keys.sealed_dataset import SealedDataSet, check_owner, open_sealed_dataset

    def opened() -> DataSet:
        sealed = SealedDataSet.at(data)
        if sealed is None and sealed_only:
            raise DataError(
                f"the data set of node {node.name} is not sealed, or not there",
                expected="what coterie seal wrote",
                seen="something else",
                remedy="seal it with coterie seal, and put the result where the node looks for data",
            )
        if sealed is None:
            return open_dataset(data, contract.data, party=node.party)
        check_owner(sealed, contract.data, party=node.party)
        key = fabric.data_key(sealed.set_id)
        return open_sealed_dataset(sealed, key, contract.data, party=node.party)

    return opened


def _keepers(
    contract: Contract, node: Node, fabric: Fabric, out: Path | None
) -> tuple[ModelKeeper | None, ModelKeeper | None]:
    """Where the node keeps the trained model, and its optimizers' state.

    Sealed, unless its party's key server says otherwise: nothing that the host chooses decides it.
    The key is fetched now: after the training it would be too late to find that there is none.
    """
    if out is None or node not in contract.model_recipients():
        return None, None
    key = fabric.model_key()
    if key is None:
        return PlainModelFile(out / MODEL_NAME), PlainModelFile(out / STATE_NAME)
    from coterie.keys.data_key import DataKey
    from coterie.keys.sealed_model import SealedModelFile

    sealing = DataKey(node.party, *key)
    return SealedModelFile.in_folder(out, MODEL_NAME, sealing), SealedModelFile.in_folder(
        out, STATE_NAME, sealing
    )


def _start(
    contract: Contract, node: Node, fabric: Fabric, folder: Path | None
) -> StartFiles | None:
    if folder is None:
        return None
    giver = contract.start_giver()
    if node != giver:
        raise ContractInvalid(
            f"node {node.name} does not give the model that the run starts from",
            expected=f"--start at {giver.name}"
            if giver
            else "no --start: the contract has no [start]",
            seen=f"--start at {node.name}",
            remedy="leave --start away here",
        )
    return StartFiles(contract, folder, fabric.data_key)


def end_with_parent() -> None:
    """Ends this process when the one above it does: it holds the other end of standard input."""

    def watch() -> None:
        # Not through sys.stdin: its lock, held here, would make the interpreter abort at its end.
        while os.read(0, 4096):
            pass
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
