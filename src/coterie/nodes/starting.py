"""Starts a node from its contract and its host's settings, for the command line and the enclave."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from coterie.contract import Contract, Node
from coterie.contract.rollback import RollbackConsent
from coterie.contract.signatures import check_consent, valid_signatures
from coterie.nodes.attested import attested_fabric, descriptors_needed
from coterie.nodes.descriptors import make_room
from coterie.nodes.options import NodeOptions, check_addresses
from coterie.nodes.process import run_node
from coterie.nodes.stopping import end_on_sigterm
from coterie.ps.call_metrics import CallObserver, ignore_call
from coterie.runs.event_log import all_of
from coterie.runs.events import EventSink
from coterie.spans import Tracer, untraced

if TYPE_CHECKING:  # imported only for metrics, and by workers
    from coterie.nodes.prometheus import NodeMetrics
    from coterie.training.step import StepMaker


def start_node(
    contract: Contract,
    contract_file: Path,
    name: str,
    options: NodeOptions,
    *,
    tell: EventSink,
    on_sigterm: Callable[[str, EventSink], None] = end_on_sigterm,
    make_step: StepMaker | None = None,
) -> None:
    """Runs an attested node until it is done.

    SIGTERM ends the process. So call this on the main thread, unless ``on_sigterm`` is another
    function.

    Args:
        contract: Content of ``contract_file``, which the caller reads once.
        contract_file: The contract's file, with its parties' signatures beside it.
        name: The node's name.
        options: The host's settings; untrusted.
        tell: Receives every event.
        on_sigterm: Prepares the process for SIGTERM, given the node's name and the event sink.
        make_step: As in ``NodeContext``.

    Raises:
        EnvironmentUnfit: For instance, there are too few descriptors.
        CoterieError: The node failed. The last event reports it if the contract was accepted.
    """
    check_consent(contract, contract_file, at=datetime.now(UTC))
    make_room(descriptors_needed(contract))
    node = contract.node(name)
    check_addresses(contract, node, options)
    consent = _consent(options.rollback_consent, contract)
    signatures = valid_signatures(contract, contract_file)
    with ExitStack() as stack:
        observe: CallObserver = ignore_call
        if options.metrics_port is not None:
            metrics = stack.enter_context(
                _metrics(node, options.metrics_port, options.metrics_host)
            )
            observe, tell = metrics.observe, all_of(metrics.on_event, tell)
        tracer: Tracer = untraced
        if options.traces_to is not None:
            from coterie.nodes.traces import sending_traces

            traces = stack.enter_context(sending_traces(contract, node, options.traces_to))
            tracer, tell = traces, all_of(traces.on_event, tell)
        on_sigterm(node.name, tell)
        run_node(
            contract,
            node,
            options,
            lambda on_event, incarnation: attested_fabric(
                contract,
                node,
                options,
                signatures=signatures,
                on_event=on_event,
                incarnation=incarnation,
                observe=observe,
                tracer=tracer,
            ),
            "ra-tls",
            on_event=tell,
            consent=consent,
            make_step=make_step,
            tracer=tracer,
        )


@contextmanager
def _metrics(node: Node, port: int, host: str) -> Iterator[NodeMetrics]:
    from coterie.nodes.prometheus import NodeMetrics
    from coterie.nodes.prometheus_exporter import serving_metrics

    metrics = NodeMetrics(node)
    with serving_metrics(metrics.registry, port, host):
        yield metrics


def _consent(path: Path | None, contract: Contract) -> RollbackConsent | None:
    if path is None:
        return None
    consent = RollbackConsent.read(path)
    consent.verify(contract)
    return consent
