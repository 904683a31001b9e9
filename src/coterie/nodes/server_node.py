"""The program of a parameter server's node, the same over every fabric."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from coterie.contract import Contract, contract_digest
from coterie.errors import CoterieError
from coterie.nodes.fabric import NodeContext, RunReceipt
from coterie.ps.checkpoints.codec import FileCodec, PlainFileCodec
from coterie.ps.checkpoints.records import Checkpoints, DurableCheckpoint, NoCheckpoints
from coterie.ps.checkpoints.store import CheckpointStore
from coterie.ps.core.disclosure import EVERYTHING
from coterie.ps.driver import CheckpointsMaker, Driver
from coterie.ps.service import ParameterService
from coterie.runs.evaluation_file import Evaluation
from coterie.runs.outcome import RunOutcome
from coterie.runs.result import RunResult, TransportName, result_of
from coterie.runs.result_file import write_result
from coterie.runs.run_files import keep_contract

CHECKPOINTS = "checkpoints"
_FAREWELL_SECONDS = 10.0  # seconds: a computing worker is told of the end at its next call


def serve(context: NodeContext, transport: TransportName, receipt: RunReceipt) -> RunResult | None:
    """Serves the run to its end and writes the results; shard 0 returns the result.

    Args:
        context: The node's context.
        transport: Name of the fabric's transport, for the result.
        receipt: The run's receipt, on shard 0.

    Raises:
        CoterieError: The run failed, or a file could not be written.
    """
    results = _Results(context.contract, transport, context.out, receipt)
    outcome = run_parameter_server(replace(context, on_outcome=results.keep))
    return None if outcome is None else results.complete(outcome)


def run_parameter_server(context: NodeContext) -> RunOutcome | None:
    """Serves the run until all nodes have trained, reported and left; shard 0 has the outcome."""
    contract = context.contract
    driver = Driver(
        contract,
        context.node.name,
        incarnation=context.incarnation,
        monotonic=context.monotonic,
        on_event=context.on_event,
        checkpoints=_checkpoints(context),
        consent=context.consent,
        disclosure=EVERYTHING if context.discloses_everything else None,
        receipt=context.receipt,
        connect=lambda: context.fabric.parameter_server(0),
        tracer=context.tracer,
    )
    service = ParameterService(driver)
    with context.fabric.serve_parameter_server(service):
        try:
            return service.drive(context.on_outcome)
        except Exception:
            service.see_off_failed(_FAREWELL_SECONDS)
            raise


def _checkpoints(context: NodeContext) -> CheckpointsMaker:
    contract = context.contract
    servers = [server.name for server in contract.by_role("ps")]
    out = context.out

    def make(
        on_durable: Callable[[DurableCheckpoint], None], on_failure: Callable[[CoterieError], None]
    ) -> Checkpoints:
        if out is None:
            return NoCheckpoints()
        place = (servers.index(context.node.name), len(servers))
        return CheckpointStore(
            out / CHECKPOINTS,
            contract_digest(contract),
            shard=place[0],
            shards=place[1],
            casing=_casing(context, place),
            on_durable=on_durable,
            on_failure=on_failure,
        )

    return make


def _casing(context: NodeContext, place: tuple[int, int]) -> FileCodec:
    contract = context.contract
    if not contract.trust.checkpoints_sealed or context.fabric.proves_nothing:
        return PlainFileCodec()
    from coterie.sealed.sealed_checkpoints import SealedFileCodec

    return SealedFileCodec(context.fabric.checkpoint_key(), contract_digest(contract), place)


class _Results:
    """Writes the results once the outcome is kept, so that no slow node delays them."""

    def __init__(
        self, contract: Contract, transport: TransportName, out: Path | None, receipt: RunReceipt
    ) -> None:
        self._contract = contract
        self._transport: TransportName = transport
        self._out = out
        self._receipt = receipt
        self._failure: CoterieError | None = None

    def keep(self, outcome: RunOutcome) -> None:
        """Writes result and receipt. Errors are raised later, since nodes still need the model."""
        try:
            if self._out is not None:
                keep_contract(self._out, self._contract)
                Evaluation.of(outcome).write(self._out)
            self._receipt.finish(self._result(outcome), outcome.end)
        except CoterieError as error:
            self._failure = error

    def complete(self, outcome: RunOutcome) -> RunResult:
        """Writes the result again, with all nodes' times.

        Raises:
            CoterieError: A file could not be written.
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
