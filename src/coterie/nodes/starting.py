"""Starts one node from its contract and what its host says, for the command line and the enclave."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from coterie.contract import Contract
from coterie.contract.rollback import RollbackConsent
from coterie.contract.signatures import check_consent, valid_signatures
from coterie.nodes.attested import attested_fabric, descriptors_needed
from coterie.nodes.descriptors import make_room
from coterie.nodes.metrics import NodeMetrics
from coterie.nodes.metrics_exporter import serving_metrics
from coterie.nodes.process import run_node
from coterie.nodes.stopping import end_on_sigterm
from coterie.nodes.trust import NodeOptions, check_addresses
from coterie.runs.event_log import all_of
from coterie.runs.events import EventSink


@dataclass(frozen=True)
class NodeFiles:
    """Where a node reads and writes.

    Attributes:
        contract: The contract's file, with its parties' signatures beside it.
        data: The party's prepared or sealed data set, where the node owns data.
        sealed_only: Whether data in the clear is refused.
        out: Where checkpoints and the trained model are kept.
        memory: Where the node remembers announced checkpoints; absent: in ``out``.
        rollback_consent: All parties' consent to go on from an older checkpoint.
        start: Folder of what the run goes on from, at the node that gives it.
    """

    contract: Path
    data: Path | None = None
    sealed_only: bool = False
    out: Path | None = None
    memory: Path | None = None
    rollback_consent: Path | None = None
    start: Path | None = None


def start_node(
    contract: Contract,
    name: str,
    files: NodeFiles,
    options: NodeOptions,
    *,
    tell: EventSink,
    metrics_port: int | None = None,
    compare_alone: bool = False,
    on_sigterm: Callable[[str, EventSink], None] = end_on_sigterm,
) -> None:
    """Runs an attested node until it is done.

    SIGTERM ends the process, so this is called on the main thread, unless ``on_sigterm`` differs.

    Args:
        contract: What ``files.contract`` holds; read once, by the caller.
        name: Which of the contract's nodes.
        files: Where it reads and writes.
        options: What else its host says; untrusted.
        tell: Hears every event.
        metrics_port: Where Prometheus metrics are served, on loopback.
        compare_alone: See ``run_node``.
        on_sigterm: Prepares the process for SIGTERM, given the node's name and who hears of it.

    Raises:
        EnvironmentUnfit: Too few descriptors, among others.
        CoterieError: The node failed; the last event says so, once the contract has been accepted.
    """
    check_consent(contract, files.contract, at=datetime.now(UTC))
    make_room(descriptors_needed(contract))
    node = contract.node(name)
    check_addresses(contract, node, options)
    consent = _consent(files.rollback_consent, contract)
    options = replace(options, signatures=valid_signatures(contract, files.contract))
    metrics = NodeMetrics(node)
    write = all_of(metrics.hear, tell)
    on_sigterm(node.name, write)
    with ExitStack() as stack:
        if metrics_port is not None:
            stack.enter_context(serving_metrics(metrics.registry, metrics_port))
        run_node(
            contract,
            node,
            lambda on_event, incarnation: attested_fabric(
                contract,
                node,
                options,
                on_event=on_event,
                incarnation=incarnation,
                observe=metrics.observe,
            ),
            "ra-tls",
            data=files.data,
            sealed_only=files.sealed_only,
            consent=consent,
            out=files.out,
            memory=files.memory,
            on_event=write,
            compare_alone=compare_alone,
            start=files.start,
        )


def _consent(path: Path | None, contract: Contract) -> RollbackConsent | None:
    if path is None:
        return None
    consent = RollbackConsent.read(path)
    consent.verify(contract)
    return consent
