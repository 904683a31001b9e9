"""What a step of the exchange costs, in units of work that nobody's change to it can alter.

``python -m benchmarks.gate`` trains with a server and four workers as threads of this process: attested, over
real sockets, with gradients that were made before (``benchmarks.fixed_step``). After every few steps all
workers stop, and the process copies, encrypts, decrypts and adds as many bytes as they had exchanged. Both
are CPU time of this process, so neither the machine's speed nor its load shows in their ratio. The test
suite has a bound on it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Self

import numpy as np
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from typing_extensions import override

from benchmarks.fixed_step import FixedStep
from benchmarks.runs import Setup, Workshop, contract_of
from coterie.arrays import FloatArray
from coterie.contract import Contract, Node
from coterie.nodes.options import NodeOptions
from coterie.nodes.starting import start_node
from coterie.plane.choice import choice, computing_with
from coterie.plane.kernels import Kernels
from coterie.plane.numpy_kernels import NumpyKernels
from coterie.runs.directory import RunDirectory, open_run_directory
from coterie.runs.events import Event, Listening
from coterie.training.step import StepGradients, WorkerStep

_SETUP = Setup(workers=4, rows=26_000, fixed_gradients=True)
_WARM_UP_STEPS, _STEPS = 6, 6  # before the first turn, and in each
_PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class Measured:
    """CPU per step, milliseconds.

    Attributes:
        exchange_ms: Of a step of the exchange, server and workers together: median of the turns.
        calibration_ms: Of the same volume, copied, encrypted, decrypted and added: likewise.
    """

    exchange_ms: float
    calibration_ms: float

    @property
    def ratio(self) -> float:
        """The exchange in units of the calibration."""
        return self.exchange_ms / self.calibration_ms


def kernels_here() -> dict[str, Kernels]:
    """The kernels that this machine can compute with: NumPy's, and the native ones if they are built."""
    native = choice()
    found: dict[str, Kernels] = {"numpy": NumpyKernels()}
    return found if native.missing else {**found, "native": native.kernels}


def measure(folder: Path, turns: int) -> Measured:
    """Trains for so many turns, a calibration after each.

    Args:
        folder: For everything that is made; empty.
        turns: How many.

    Raises:
        threading.BrokenBarrierError: A node failed; its thread has told why.
    """
    setup = replace(_SETUP, steps=_WARM_UP_STEPS + (turns + 1) * _STEPS)
    contract, data = contract_of(setup), Workshop(folder).prepared(setup)
    stop = threading.Barrier(setup.workers + 1)
    calibrate = _calibration(setup.workers, 4 * _dense_parameters(contract))
    exchange, calibration = [], []
    with (
        open_run_directory(folder / "run", contract, "ra-tls") as directory,
        _Nodes(directory, data, partial(_StoppingStep, stop, turns), stop) as nodes,
    ):
        nodes.start()
        stop.wait(_PATIENCE_SECONDS)
        for _ in range(turns):
            before = time.process_time()
            stop.wait(_PATIENCE_SECONDS)  # lets them go on
            stop.wait(_PATIENCE_SECONDS)  # until all have stopped again
            between = time.process_time()
            for _ in range(_STEPS):
                calibrate()
            after = time.process_time()
            exchange.append(1000 * (between - before) / _STEPS)
            calibration.append(1000 * (after - between) / _STEPS)
        stop.wait(_PATIENCE_SECONDS)
    return Measured(median(exchange), median(calibration))


class _StoppingStep(FixedStep):
    """Stops before the first step after the warm-up, and after every turn."""

    def __init__(
        self, stop: threading.Barrier, turns: int, worker: str, contract: Contract
    ) -> None:
        super().__init__(contract, int.from_bytes(worker.encode()))
        self._stop = stop
        self._stops = {_WARM_UP_STEPS + turn * _STEPS for turn in range(turns + 1)}
        self._steps = 0

    @override
    def gradients(
        self,
        flat_p: FloatArray,
        dense_bn: FloatArray,
        embedded_bmd: FloatArray,
        labels_b: FloatArray,
        weights_b: FloatArray | None = None,
    ) -> StepGradients:
        if self._steps in self._stops:
            self._stop.wait(_PATIENCE_SECONDS)
            self._stop.wait(_PATIENCE_SECONDS)
        self._steps += 1
        return super().gradients(flat_p, dense_bn, embedded_bmd, labels_b, weights_b)


class _Nodes:
    """The nodes of a run as threads; when the block ends, they have."""

    def __init__(
        self,
        directory: RunDirectory,
        data: Path,
        make_step: Callable[[str, Contract], WorkerStep],
        stop: threading.Barrier,
    ) -> None:
        self._directory = directory
        self._data = data
        self._make_step = make_step
        self._stop = stop
        self._listening = threading.Event()
        self._addresses: dict[str, str] = {}
        self._ending = ExitStack()

    def start(self) -> None:
        """Starts all nodes, the server first."""
        contract = self._directory.contract
        for node in (*contract.by_role("ps"), *contract.by_role("worker")):
            thread = threading.Thread(target=self._run, args=(node,), name=node.name)
            thread.start()
            self._ending.callback(thread.join)
            if not self._listening.wait(_PATIENCE_SECONDS):
                raise TimeoutError(f"{node.name} does not listen")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self._stop.abort()
        self._ending.close()

    def _run(self, node: Node) -> None:
        directory = self._directory
        options = NodeOptions(
            data=self._data / node.party if node.role == "worker" else None,
            out=directory.node(node.name),
            listen="127.0.0.1:0" if node.role == "ps" else None,
            addresses=dict(self._addresses),
            party_key=directory.key_file(node.party),
        )
        try:
            start_node(
                directory.contract,
                directory.contract_file,
                node.name,
                options,
                tell=self._hear,
                on_sigterm=lambda *_: None,
                make_step=partial(self._make_step, node.name),
            )
        except BaseException:
            self._stop.abort()
            raise

    def _hear(self, event: Event) -> None:
        if isinstance(event, Listening):
            self._addresses[event.node] = event.address
            self._listening.set()


def _dense_parameters(contract: Contract) -> int:
    return sum(parameter.size for parameter in contract.model.dense_parameters(contract.data))


def _calibration(workers: int, size: int) -> Callable[[], None]:
    """Moves a step's volume as plainly as can be: every worker's push, and the reply to it."""
    sealing, nonce = AESGCM(bytes(16)), bytes(12)
    message = np.random.default_rng(0).normal(size=size // 4).astype(np.float32)
    copied, total = np.empty_like(message), np.zeros_like(message)

    def carry() -> None:
        np.copyto(copied, message)
        opened = sealing.decrypt(nonce, sealing.encrypt(nonce, copied.data.cast("B"), None), None)
        np.copyto(copied, np.frombuffer(opened, np.float32))

    def step() -> None:
        for _ in range(workers):
            carry()
            np.add(total, copied, out=total)
            carry()

    return step


def main() -> None:
    """Prints the ratio and its parts."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gate", description=__doc__)
    parser.add_argument("--turns", type=int, default=12)
    parser.add_argument("--kernels", choices=("numpy", "native"), help="these alone")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    here = kernels_here()
    for name in [options.kernels] if options.kernels else here:
        if name not in here:
            parser.error("the native kernels are not built here: coterie doctor --build")
        with tempfile.TemporaryDirectory() as folder, computing_with(here[name]):
            found = measure(Path(folder), options.turns)
        sys.stdout.write(
            f"{json.dumps(asdict(found))}\n"
            if options.json
            else f"{name} kernels: ratio {found.ratio:.2f}, the exchange {found.exchange_ms:.1f} ms "
            f"of CPU per step, the calibration {found.calibration_ms:.1f} ms\n"
        )


if __name__ == "__main__":
    main()
