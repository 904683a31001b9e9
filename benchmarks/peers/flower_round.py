"""Flower's round of the same model: every client trains one batch on the server's parameters, FedAvg averages them.

One server and the clients are processes of their own, over plain gRPC, as its guide had it. ``dense``: rounds carry the
dense parameters, and every client keeps an embedding table of its own; ``whole``: they carry the table as well, since
Flower has no way to send some of its rows. Steps are rounds.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Sequence
from multiprocessing.process import BaseProcess

import numpy as np
from typing_extensions import override

from benchmarks.peers.model import (
    COLUMNS,
    DIM,
    WARM_UP_STEPS,
    Meter,
    Options,
    Spent,
    batches,
    column_rows,
    layers,
    parse,
    report,
    say,
)

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"  # before its first import
_MESSAGE_BYTES = 1 << 30


def main() -> None:
    """Trains and prints the figures; says so where Flower is not installed."""
    options = parse(__doc__, ("dense", "whole"), threads=1)
    try:
        import flwr
    except ImportError as error:
        say({"unavailable": f"Flower is not installed: {error}"})
        return
    del flwr
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{sock.getsockname()[1]}"
    spawn = multiprocessing.get_context("spawn")
    clients = [
        spawn.Process(target=_be_client, args=(address, options, seed), daemon=True)
        for seed in range(options.workers)
    ]
    for client in clients:
        client.start()
    report(options, _serve(address, options, clients), processes=options.workers + 1)


def _serve(address: str, options: Options, clients: Sequence[BaseProcess]) -> Spent:
    from flwr.common import ndarrays_to_parameters
    from flwr.server import ServerConfig, start_server
    from flwr.server.strategy import FedAvg

    pids = [client.pid for client in clients if client.pid is not None]
    meters: list[Meter] = []
    spent: list[Spent] = []

    class Measured(FedAvg):
        """Federated averaging that knows when the first rounds and the last have ended."""

        @override
        def aggregate_fit(self, server_round, results, failures):
            averaged = super().aggregate_fit(server_round, results, failures)
            if len(results) != options.workers:
                raise RuntimeError(f"{len(results)} clients answered: {failures}")
            if server_round == WARM_UP_STEPS:
                meters.append(Meter((os.getpid(),), pids))
            elif server_round == WARM_UP_STEPS + options.steps:
                spent.append(meters[0].spent())
            return averaged

    whole = options.variant == "whole"
    table = np.zeros((column_rows(options.rows) * COLUMNS, DIM), np.float32)
    initial = [*([table] if whole else []), *layers()]
    start_server(
        server_address=address,
        config=ServerConfig(num_rounds=WARM_UP_STEPS + options.steps),
        strategy=Measured(
            fraction_evaluate=0.0,
            min_fit_clients=options.workers,
            min_available_clients=options.workers,
            initial_parameters=ndarrays_to_parameters(initial),
        ),
        grpc_max_message_length=_MESSAGE_BYTES,
    )
    return spent[0]


def _be_client(address: str, options: Options, seed: int) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf
    from flwr.client import NumPyClient, start_client

    from benchmarks.peers.tensorflow_model import make_dense, make_tables, train_step

    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tables, dense = make_tables(options.rows, fused=True), make_dense()
    made = batches(options.batch, options.rows, seed)
    carried = [*tables, *dense] if options.variant == "whole" else dense

    @tf.function(jit_compile=True)
    def step(dense_bn, ids_bm, labels_b):
        return train_step(tables, dense, options.rows, (dense_bn, ids_bm, labels_b))

    class Client(NumPyClient):
        """Trains one batch in a round."""

        rounds = 0

        @override
        def fit(self, parameters, config):
            for variable, value in zip(carried, parameters, strict=True):
                variable.assign(value)
            batch = made[self.rounds % len(made)]
            self.rounds += 1
            step(batch.dense_bn, batch.ids_bm, batch.labels_b)
            return [variable.numpy() for variable in carried], options.batch, {}

    start_client(
        server_address=address,
        client=Client().to_client(),
        grpc_max_message_length=_MESSAGE_BYTES,
        insecure=True,
    )


if __name__ == "__main__":
    main()
