"""Runs all nodes of a TensorFlow cluster on this machine, for ``coterie tensorflow run``.

The listening sockets are made here and inherited by the nodes. So every node knows the others'
addresses from its start, and no other process can take a port.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from coterie.address import Address
from coterie.contract import Contract, Node
from coterie.data.manifest import read_manifest
from coterie.errors import CallRefused, NodeFailed
from coterie.nodes.children import Children, Exited, Printed, raise_failure
from coterie.runs.directory import RunDirectory, open_run_directory
from coterie.runs.event_format import describe_event
from coterie.runs.events import Event, Refused
from coterie.tensorflow.cluster import check_contract
from coterie.tensorflow.digests import (
    Program,
    check_digests,
    completed,
    tensorflow_folder,
    wheel_digest,
)
from coterie.tensorflow.native import load
from coterie.tensorflow.sockets import Ports

ATTESTED_NODE = (sys.executable, "-m", "coterie", "tensorflow", "node")
_HOST = "127.0.0.1"


def run_cluster(
    contract: Contract,
    program: Program,
    arguments: Sequence[str],
    out: Path | None,
    *,
    data: Path | None,
    say: Callable[[str], None],
    printed: Callable[[str, str], None],
    command: Sequence[str] = ATTESTED_NODE,
) -> None:
    """Runs every node of a contract as a process on loopback, until its work is done.

    That is when the chief's program has ended, or in mode hfl the workers'. A cluster without servers
    ends when all programs have ended.

    Args:
        contract: The contract; missing digests are filled in if it is a simulated one.
        program: The program that every node runs.
        arguments: The program's arguments.
        out: A directory for the nodes' files and the receipt: new, or that of a run that has failed;
            None: nothing is kept, so programs can keep no checkpoints.
        data: Folder with one prepared data set per data-owning party, named after the party; None
            if the program makes its data.
        say: Receives messages for people.
        printed: Receives every line that a node's program prints, with the node's name.
        command: The command that starts a node.

    Raises:
        OutputInUse: The directory holds a finished run, one of another program, or something else.
        CoterieError: A node failed, or something is missing; no process is left.
    """
    check_contract(contract)
    load()
    wheel = wheel_digest(tensorflow_folder())
    contract = completed(contract, program, wheel)
    check_digests(contract, program, wheel)
    if data is not None:
        for owner in contract.data_owners():  # before anything starts
            read_manifest(data / owner.party, contract.data, party=owner.party)
    with ExitStack() as stack:
        folder = out
        if folder is None:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="coterie-tensorflow-")))
        directory = stack.enter_context(open_run_directory(folder, contract, "ra-tls"))
        directory.check_unfinished()
        cluster = _Cluster(
            directory,
            program,
            arguments,
            keep=out is not None,
            data=data,
            say=say,
            printed=printed,
            command=command,
        )
        cluster.run()


class _Cluster:
    def __init__(
        self,
        directory: RunDirectory,
        program: Program,
        arguments: Sequence[str],
        *,
        keep: bool,
        data: Path | None,
        say: Callable[[str], None],
        printed: Callable[[str, str], None],
        command: Sequence[str],
    ) -> None:
        self._directory = directory
        self._program = program
        self._arguments = tuple(arguments)
        self._keep = keep
        self._data = data
        self._say = say
        self._printed = printed
        self._command = command
        self._children = Children(directory, self._program_failed, keep_events=False)

    def run(self) -> None:
        contract = self._directory.contract
        servers = {node.name for node in contract.by_role("ps")}
        # Those that own data decide: the others serve them.
        deciding = {node.name for node in contract.data_owners()}
        # A node without an address in the contract only dials out, also here.
        ports = {
            node.name: Ports.bind(Address(_HOST, 0)) for node in contract.nodes if node.address
        }
        with ExitStack() as stack:
            try:
                for node in contract.nodes:
                    stack.enter_context(self._started(node, ports))
            # Only the nodes hold them now, so the port of an ended node refuses connections.
            finally:
                for pair in ports.values():
                    pair.close()
            alive = self._children.alive
            while alive and (alive & deciding or not servers):
                self._hear()
        self._directory.keep_receipt(contract.receipt_keeper().name)
        self._directory.delete_keys()

    def _hear(self) -> None:
        heard = self._children.next_message()
        if isinstance(heard, Printed):
            self._printed(heard.node, heard.text)
        elif not isinstance(heard, Exited):
            self._say(describe_event(heard))
            raise_failure(heard)
            _raise_refusal(heard)

    def _program_failed(self, node: str, seen: str, log: Path) -> NodeFailed:
        place = log if self._keep else f"DIR/{log.relative_to(self._directory.path)} with --out DIR"
        return NodeFailed(
            f"the program of node {node} failed",
            expected="exit code 0",
            seen=seen,
            remedy=f"mend the program; the whole of what the node said is in {place}",
        )

    @contextmanager
    def _started(self, node: Node, ports: dict[str, Ports]) -> Iterator[None]:
        command = [*self._command, *self._children.arguments(node, str(self._program.path))]
        own = ports.get(node.name)
        inherited = () if own is None else (own.attestation.fileno(), own.data.fileno())
        if self._keep:
            command += ["--out", str(self._directory.node(node.name))]
        if self._data is not None and node in self._directory.contract.data_owners():
            command += ["--data", str(self._data / node.party)]
        if inherited:
            command += ["--inherited", ",".join(map(str, inherited))]
        for name, pair in ports.items():
            if name != node.name:
                port = pair.attestation.getsockname()[1]
                command += ["--address", f"{name}={Address(_HOST, port)}"]
        if self._arguments:
            command += ["--", *self._arguments]
        with self._children.started(node, command, inherited=inherited):
            yield


def _raise_refusal(event: Event) -> None:
    """Ends a run whose program does what its contract does not allow: TensorFlow repeats it for ever.

    Once may be an accident of the network's; ten refusals of the same call are reported as one event.
    """
    if isinstance(event, Refused) and event.error == CallRefused.__name__ and event.count > 1:
        raise CallRefused(
            f"node {event.node} refuses what the program asks of it",
            expected="calls and operations that the contract allows",
            seen=event.reason,
            remedy="list the operations in [tensorflow] operations, or change the program",
        )
