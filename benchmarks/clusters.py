"""A TensorFlow cluster in plaintext, as stock TensorFlow runs it: the measure for ``coterie tensorflow``.

On loopback only. The program and its TF_CONFIG are the same, but for the addresses.

    python -m benchmarks.clusters [--pairs 5] [--batch 128] [--steps 400]
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from coterie.contract import Contract, load_contract
from coterie.nodes.supervisor import thread_environment
from coterie.tensorflow.cluster import tf_config

_SECONDS = 600
_EXAMPLES = Path(__file__).parents[1] / "examples" / "tensorflow"


def run_plain_cluster(contract: Contract, program: Path, arguments: list[str]) -> list[str]:
    """Runs every node of a contract as plain TensorFlow; ends all when the chief has ended.

    Args:
        contract: Names the nodes; nothing else of it counts.
        program: What they run.
        arguments: Its arguments.

    Returns:
        What the chief printed, line by line.

    Raises:
        RuntimeError: The chief's program failed.
    """
    with ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in contract.nodes
        ]
        real = [f"127.0.0.1:{sock.getsockname()[1]}" for sock in sockets]
    environment = thread_environment(contract)
    running: dict[str, subprocess.Popen[str]] = {}
    try:
        for node in contract.nodes:
            config = tf_config(contract, node)
            for i, address in enumerate(real):
                config = config.replace(json.dumps(f"239.67.0.{i}:2222"), json.dumps(address))
            running[node.role if node.role == "chief" else node.name] = subprocess.Popen(
                [sys.executable, str(program), *arguments],
                stdout=subprocess.PIPE if node.role == "chief" else subprocess.DEVNULL,
                stderr=subprocess.PIPE if node.role == "chief" else subprocess.DEVNULL,
                text=True,
                env={**environment, "TF_CONFIG": config},
            )
        said, errors = running["chief"].communicate(timeout=_SECONDS)
        if running["chief"].returncode:
            raise RuntimeError(errors[-2000:])
        return said.splitlines()
    finally:
        for process in running.values():
            process.kill()
            process.communicate()


def run_attested_cluster(contract: Path, program: Path, arguments: list[str]) -> list[str]:
    """The same by ``coterie tensorflow run``.

    Args:
        contract: The contract's file.
        program: What the nodes run.
        arguments: Its arguments.

    Returns:
        What the chief printed, line by line.

    Raises:
        RuntimeError: The run failed.
    """
    finished = subprocess.run(
        [*(sys.executable, "-m", "coterie", "tensorflow", "run", str(contract), str(program)),
         "--", *arguments],
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )  # fmt: skip
    if finished.returncode:
        raise RuntimeError(finished.stderr[-2000:])
    return finished.stdout.splitlines()


def _seconds(lines: list[str]) -> float:
    return float(lines[-1].split(" steps in ")[1].split(" s,")[0])


def _losses(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith("step ")]


def main() -> None:
    """Runs the in-graph example plain and attested, in turn, and prints the ratio of every pair."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=400)
    options = parser.parse_args()
    contract_file = _EXAMPLES / "cluster.toml"
    contract, program = load_contract(contract_file), _EXAMPLES / "dlrm_in_graph.py"
    arguments = ["--steps", str(options.steps), "--batch", str(options.batch)]
    ratios = []
    for pair in range(options.pairs):
        plain = run_plain_cluster(contract, program, arguments)
        attested = run_attested_cluster(contract_file, program, arguments)
        if _losses(plain) != _losses(attested):
            raise RuntimeError("the losses differ")
        ratios.append(_seconds(attested) / _seconds(plain))
        print(f"pair {pair + 1}: plain {plain[-1]}; attested {attested[-1]}; {ratios[-1]:.3f}x")
    spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
    print(f"2 x {options.batch}: {median(ratios):.3f}x, median of {options.pairs} pairs ({spread})")


if __name__ == "__main__":
    main()
