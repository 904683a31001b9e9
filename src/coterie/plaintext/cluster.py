"""A TensorFlow cluster in plaintext, as stock TensorFlow runs it: the measure for attested ones.

On loopback only. The program and its ``TF_CONFIG`` are the same, but for the addresses.
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from coterie.contract import Contract, Node
from coterie.errors import NodeFailed
from coterie.nodes.children import Children, Printed
from coterie.runs.directory import open_run_directory
from coterie.tensorflow.cluster import tf_config, virtual_address
from coterie.tensorflow.examples import VARIABLE

# Ends the program with its parent: servers never end by themselves. The thread sees that standard input has ended;
# the kernel's signal (PR_SET_PDEATHSIG, SIGKILL) also comes while TensorFlow holds the interpreter's lock.
_PROGRAM = """
import ctypes, os, runpy, sys, threading
ctypes.CDLL(None).prctl(1, 9)
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run_plain_cluster(
    contract: Contract,
    program: Path,
    arguments: Sequence[str],
    out: Path,
    *,
    printed: Callable[[str, str], None],
    data: Mapping[str, str] = {},
) -> None:
    """Runs a plain cluster until the chief's program has ended, or in mode hfl the workers'.

    Args:
        contract: Names the nodes, and says how many threads they have.
        program: What they run.
        arguments: Its arguments.
        out: A new directory for the nodes' files.
        printed: Receives every line that a node prints, with the node's name.
        data: ``COTERIE_DATA`` of the parties that own data, by name.

    Raises:
        NodeFailed: A node's program failed; no process is left.
        EnvironmentUnfit: The directory cannot be written.
    """
    deciding = {node.name for node in contract.data_owners()}
    environments = environments_of(contract, data)
    with open_run_directory(out, contract, "PLAINTEXT") as directory, ExitStack() as stack:

        def failed(node: str, seen: str, log: Path) -> NodeFailed:
            remedy = f"the whole of what it said is in {log}"
            return NodeFailed(f"the program of node {node} failed", "exit code 0", seen, remedy)

        children = Children(directory, failed, keep_events=False)
        command = [sys.executable, "-c", _PROGRAM, str(program.resolve()), *arguments]
        for node in contract.nodes:
            own = environments[node.name]
            stack.enter_context(children.started(node, command, environment=own))
        while children.alive & deciding:
            heard = children.next_message()
            if isinstance(heard, Printed):
                printed(heard.node, heard.text)


def environments_of(contract: Contract, data: Mapping[str, str] = {}) -> dict[str, dict[str, str]]:
    """Each node's variables: the cluster at free ports of loopback, and its party's examples.

    Args:
        contract: Names the nodes.
        data: ``COTERIE_DATA`` of the parties that own data, by name.
    """
    with ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in contract.nodes
        ]
        real = [f"127.0.0.1:{sock.getsockname()[1]}" for sock in sockets]

    def of(node: Node) -> dict[str, str]:
        config = tf_config(contract, node)
        for i, address in enumerate(real):
            config = config.replace(json.dumps(virtual_address(i)), json.dumps(address))
        own = {"TF_CONFIG": config}
        if data and node in contract.data_owners():
            own[VARIABLE] = data[node.party]
        return own

    return {node.name: of(node) for node in contract.nodes}
