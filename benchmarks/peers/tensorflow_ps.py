"""Stock TensorFlow: ParameterServerStrategy and ClusterCoordinator over plain gRPC.

One parameter server, the workers and the coordinator are processes of their own, as its guide has
it. ``tables``: 26 table variables, as in the guide; ``fused``: one.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import astuple

import numpy as np

from benchmarks.peers.model import WARM_UP_STEPS, Meter, Options, Spent, batches, parse, report

_SERVE = """
import json, os, sys
import tensorflow as tf
tf.config.threading.set_intra_op_parallelism_threads(int(sys.argv[3]))
tf.config.threading.set_inter_op_parallelism_threads(2)
server = tf.distribute.Server(
    tf.train.ClusterSpec(json.loads(sys.argv[1])), job_name=sys.argv[2].split(":")[0],
    task_index=int(sys.argv[2].split(":")[1]), protocol="grpc", start=True)
sys.stdin.read()
os._exit(0)
"""


def main() -> None:
    """Starts the cluster, trains, prints the figures, ends every process."""
    options = parse(__doc__, ("tables", "fused"), threads=1)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    ports = _free_ports(options.workers + 1)
    cluster = {
        "ps": [f"127.0.0.1:{ports[0]}"],
        "worker": [f"127.0.0.1:{port}" for port in ports[1:]],
    }
    running: dict[str, list[int]] = {"ps": [], "worker": []}
    with ExitStack() as stack:
        for job, addresses in cluster.items():
            for index in range(len(addresses)):
                command = [sys.executable, "-c", _SERVE, json.dumps(cluster)]
                server = subprocess.Popen(
                    [*command, f"{job}:{index}", str(options.threads)], stdin=subprocess.PIPE
                )
                stack.callback(_end, server)
                running[job].append(server.pid)
        spent = _coordinate(options, cluster, running)
    report(options, spent, processes=options.workers + 2)
    sys.stdout.flush()
    os._exit(0)  # the coordinator's threads would wait for the servers


def _coordinate(
    options: Options, cluster: dict[str, list[str]], running: dict[str, list[int]]
) -> Spent:
    import tensorflow as tf

    from benchmarks.peers.tensorflow_model import make_dense, make_tables, train_step

    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec(cluster), rpc_layer="grpc"
    )
    strategy = tf.distribute.ParameterServerStrategy(resolver)
    coordinator = tf.distribute.coordinator.ClusterCoordinator(strategy)
    with strategy.scope():
        tables = make_tables(options.rows, fused=options.variant == "fused")
        dense = make_dense()

    def dataset():
        made = batches(options.batch, options.rows, seed=1)
        arrays = tuple(np.stack(part) for part in zip(*map(astuple, made), strict=True))
        return tf.data.Dataset.from_tensor_slices(arrays).repeat()

    @tf.function
    def step(iterator):
        return train_step(tables, dense, options.rows, next(iterator))

    iterator = iter(coordinator.create_per_worker_dataset(dataset))

    def train(steps: int) -> Spent:
        meter = Meter(running["ps"], [os.getpid(), *running["worker"]])
        for _ in range(steps * options.workers):
            coordinator.schedule(step, args=(iterator,))
        coordinator.join()
        return meter.spent()

    train(WARM_UP_STEPS * 2)
    return train(options.steps)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [int(sock.getsockname()[1]) for sock in sockets]


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


if __name__ == "__main__":
    main()
