"""One node of a TensorFlow cluster: starts and tests the layer, then runs the program itself.

The keys never leave the process.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from coterie.address import Address
from coterie.contract import Contract, Node
from coterie.contract.signatures import ContractSignature, check_consent
from coterie.errors import AddressInUse, CoterieError
from coterie.files import only_writer
from coterie.nodes.descriptors import OWN, make_room
from coterie.nodes.options import NodeOptions
from coterie.nodes.party_data import open_party_data
from coterie.nodes.process import end_with_parent, new_incarnation
from coterie.nodes.stopping import end_on_sigterm
from coterie.nodes.trust import data_key, model_key, node_trust, waiting_for
from coterie.ratls.listener import ListenerLimits, bound
from coterie.runs.events import EventSink, Failed, Listening, RecordLayer, Started, Waiting
from coterie.tensorflow.account import Account
from coterie.tensorflow.calls.inspection import Inspection
from coterie.tensorflow.cluster import check_contract, tf_config
from coterie.tensorflow.connections import MAX_IDLE
from coterie.tensorflow.digests import (
    Program,
    check_digests,
    read_program,
    tensorflow_folder,
    wheel_digest,
)
from coterie.tensorflow.examples import give_examples
from coterie.tensorflow.executing import execute
from coterie.tensorflow.native import Native
from coterie.tensorflow.preloading import die_with_parent, ensure_preloaded
from coterie.tensorflow.selftest import self_test
from coterie.tensorflow.sockets import AttestedSockets, Ports
from coterie.tensorflow.variables_file import VariablesFile, give_file
from coterie.waiting import saying

if TYPE_CHECKING:
    from coterie.receipts.entry_types import Ending

_FIRST_WORD_SECONDS = 1.0  # not earlier: TensorFlow is measured first


def agreed_program(contract: Contract, contract_file: Path, program_file: Path) -> Program:
    """Reads the program that a node will run, in a process with the library preloaded.

    Args:
        contract: The contract.
        contract_file: The contract's file, with its parties' signatures beside it.
        program_file: The program; ``run_node`` compares its digest with the contract's.

    Raises:
        EnvironmentUnfit: The program cannot be read, or the library is missing.
        CoterieError: The contract is not for TensorFlow clusters, or a signature that it needs is missing.
    """
    check_contract(contract)
    program = read_program(program_file)
    ensure_preloaded()
    check_consent(contract, contract_file, at=datetime.now(UTC))
    return program


@dataclass(frozen=True)
class Start:
    """The inputs of a node.

    Attributes:
        contract: The contract.
        node: This node's entry in it.
        program: The program that it runs.
        arguments: The program's arguments.
        options: The host's settings.
        descriptors: Two inherited listening sockets, in place of an address.
        signatures: The parties' signatures beside the contract, for the receipt.
        ends_with_parent: Whether the process ends when its parent does, or closes standard input.
    """

    contract: Contract
    node: Node
    program: Program
    arguments: Sequence[str]
    options: NodeOptions
    descriptors: tuple[int, int] | None = None
    signatures: tuple[ContractSignature, ...] = ()
    ends_with_parent: bool = False


def run_node(start: Start, on_event: EventSink) -> None:
    """Runs one node until its program ends.

    Args:
        start: Its inputs.
        on_event: Receives its events; the last one is ``Failed`` if it fails.

    Raises:
        CoterieError: The node failed; ``on_event`` has received the event.
    """
    node, out = start.node, start.options.out
    with nullcontext() if out is None else only_writer(out):
        account = Account(node, start.program.digest, on_event)
        end_on_sigterm(node.name, account.report)
        if start.ends_with_parent:
            end_with_parent(account.stop)
            die_with_parent()
        account.report(Started(node.name, node.role, node.party))
        try:
            _run(start, account)
        except CoterieError as error:
            account.report(Failed(node.name, error.exit_code, error.to_dict()))
            raise


def _run(start: Start, account: Account) -> None:
    contract, node = start.contract, start.node
    listeners = 2 * ListenerLimits().pending
    make_room(OWN + listeners + 4 * MAX_IDLE * len(contract.nodes))
    folder = tensorflow_folder()
    wheel = wheel_digest(folder)
    check_digests(contract, start.program, wheel)
    trust = node_trust(
        contract,
        node,
        start.options,
        incarnation=new_incarnation(),
        on_wait=lambda server: waiting_for(node.name, server, account.report),
    )
    if start.options.data is not None:
        give_examples(
            open_party_data(
                contract,
                node,
                start.options.data,
                partial(data_key, trust),
                sealed_only=start.options.sealed_only,
            )
        )
    folder_of_node = start.options.out
    if folder_of_node is not None and node in contract.data_owners():
        give_file(lambda: VariablesFile(folder_of_node, node, model_key(trust)))
    native = Native(folder, contract.nodes.index(node))
    sealing = native.aes_path()
    account.report(RecordLayer(node.name, sealing.openssl, sealing.instructions, sealing.hint))
    ports = _ports(start)
    if ports is not None:
        account.report(Listening(node.name, str(bound(ports.attestation))))

    # Nodes of one owner may call each other as they like.
    inspection = Inspection(contract, node, account.refused) if contract.mode == "hfl" else None
    layer = AttestedSockets(
        trust,
        native,
        _places(start),
        ports,
        inspection=inspection,
        attested=account.attested,
        refused=account.refused,
        admitted=account.admitted,
        overview=lambda: account.overview(layer.away()),
    )
    account.counts = None if inspection is None else inspection.counts
    account.keep_receipt(start.options, trust, start.signatures)
    until = time.monotonic() + contract.limits.join_seconds

    def left() -> float:
        return max(0.0, until - time.monotonic())

    def say(waited: float) -> None:
        if away := layer.away():
            why = "; ".join(away.values())
            account.report(Waiting(node.name, tuple(away), round(waited, 1), round(left(), 1), why))

    with account.serving_metrics(start.options.metrics_port, layer.peers), layer:
        with saying(say, first_seconds=_FIRST_WORD_SECONDS):
            self_test(native, trust.credentials.current().identity, trust.clock())
            layer.wait_ready(left())
        os.environ["TF_CONFIG"] = tf_config(contract, node)
        account.begin(wheel)
        how: Ending = "failed"
        try:
            execute(start.program, start.arguments)
            how = "returned"
        except SystemExit as ended:
            how = "failed" if ended.code else "returned"
            raise
        finally:
            account.end(how)


def _ports(start: Start) -> Ports | None:
    if start.descriptors is not None:
        import socket

        try:
            inherited = [socket.socket(fileno=number) for number in start.descriptors]
        except OSError as error:
            raise AddressInUse(
                "the listening sockets that this node should inherit are not there",
                expected="two open sockets",
                seen=error.strerror or str(error),
                remedy="start nodes with --listen; `coterie tensorflow run` alone passes sockets on",
            ) from error
        for sock in inherited:
            sock.set_inheritable(False)
        return Ports(*inherited)
    text = start.options.listen
    wanted = Address.parse(text) if text is not None else start.node.address
    return None if wanted is None else Ports.bind(wanted)


def _places(start: Start) -> dict[str, Address]:
    """Addresses of the other nodes; without those that have no address, or port 0."""
    given = {name: Address.parse(text) for name, text in start.options.addresses.items()}
    known = {
        node.name: given.get(node.name, node.address)
        for node in start.contract.nodes
        if node != start.node
    }
    return {name: place for name, place in known.items() if place is not None and place.port}
