"""DLRM, trained synchronously by one function that spans a parameter server and all workers.

Plain TensorFlow: it reads TF_CONFIG, as any cluster program does. The chief drives; all other tasks serve.
Each worker's part of a step makes its own synthetic click data, takes the dense parameters and the embedding
rows that it needs from the parameter server, and gives gradients back; the server adds them in the workers'
order and updates. The whole loop is in the graph, so the chief only hears the losses.

    dlrm_in_graph.py [--steps 50] [--batch 128] [--rows 100000] [--every STEPS]
"""

import argparse
import json
import os
import time

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import tensorflow as tf

COLUMNS, DIM, VECTORS = 26, 16, 27
LAYERS = ((13, 512), (512, 256), (256, 64), (64, 16), (16 + 351, 512), (512, 256), (256, 1))
SHAPES = [shape for fan_in, fan_out in LAYERS for shape in ((fan_in, fan_out), (fan_out,))]
SIZES = [int(np.prod(shape)) for shape in SHAPES]
PAIRS = np.ravel_multi_index(np.tril_indices(VECTORS, -1), (VECTORS, VECTORS))
SERVER = "/job:ps/replica:0/task:0/device:CPU:0"


def initial_dense() -> tf.Tensor:
    """All kernels and biases of the two MLPs in one vector."""
    parts = []
    for i, shape in enumerate(SHAPES):
        deviation = np.sqrt(2 / sum(shape) if len(shape) == 2 else 1 / shape[0])
        parts.append(tf.reshape(deviation * tf.random.stateless_normal(shape, [7, i]), [-1]))
    return tf.concat(parts, 0)


def logits(dense: tf.Tensor, x: tf.Tensor, vectors: tf.Tensor) -> tf.Tensor:
    """DLRM (Naumov et al., 2019): x is batch x 13, vectors is batch x 26 x 16."""
    weights = [
        tf.reshape(part, shape) for part, shape in zip(tf.split(dense, SIZES), SHAPES, strict=True)
    ]
    h = x
    for i in range(0, 8, 2):
        h = tf.nn.relu(h @ weights[i] + weights[i + 1])
    together = tf.concat([h[:, None, :], vectors], 1)
    products = tf.reshape(tf.matmul(together, together, transpose_b=True), [-1, VECTORS * VECTORS])
    h = tf.concat([h, tf.gather(products, PAIRS, axis=1)], 1)
    for i in range(8, 14, 2):
        h = h @ weights[i] + weights[i + 1]
        h = tf.nn.relu(h) if i < 12 else h
    return h[:, 0]


def clicks(
    worker: int, step: tf.Tensor, batch: int, rows: int
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """One batch: numbers (batch x 13), ids (batch x 26, few of them frequent), labels (batch)."""
    x = tf.random.stateless_normal([batch, 13], [worker, 3 * step])
    spread = tf.random.stateless_uniform([batch, COLUMNS], [worker, 3 * step + 1])
    ids = tf.cast(float(rows) * tf.pow(spread, 4.0), tf.int32)
    chance = tf.sigmoid(x[:, 0] + 0.5 * x[:, 1] - 1.0)
    labels = tf.random.stateless_uniform([batch], [worker, 3 * step + 2]) < chance
    return x, ids, tf.cast(labels, tf.float32)


def train(options: argparse.Namespace, workers: int) -> None:
    """Builds the function, and calls it for some steps at a time."""
    steps, batch, rows = options.steps, options.batch, options.rows
    every = options.every or max(1, steps // 10)
    with tf.device(SERVER):
        dense = tf.Variable(initial_dense())
        table = tf.Variable(tf.random.stateless_uniform([rows, DIM], [7, 99], -0.01, 0.01))

    def gradients(
        worker: int, step: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        with tf.device(f"/job:worker/replica:0/task:{worker}/device:CPU:0"):
            x, ids, labels = clicks(worker, step, batch, rows)
            unique, places = tf.unique(tf.reshape(ids, [-1]))
        with tf.device(SERVER):
            own_rows, own_dense = tf.gather(table, unique), tf.identity(dense)
        with tf.device(f"/job:worker/replica:0/task:{worker}/device:CPU:0"):
            own_rows, own_dense = tf.identity(own_rows), tf.identity(own_dense)
            with tf.GradientTape() as tape:
                tape.watch([own_dense, own_rows])
                vectors = tf.reshape(tf.gather(own_rows, places), [-1, COLUMNS, DIM])
                each = tf.nn.sigmoid_cross_entropy_with_logits(
                    labels, logits(own_dense, x, vectors)
                )
                loss = tf.reduce_mean(each)
            by_dense, by_rows = tape.gradient(loss, [own_dense, own_rows])
            return loss, by_dense, unique, tf.convert_to_tensor(by_rows)

    @tf.function
    def run(first: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        losses = tf.TensorArray(tf.float32, size=count)
        for i in tf.range(count):
            parts = [gradients(worker, first + i) for worker in range(workers)]
            with tf.device(SERVER):
                share = options.rate / workers
                dense.assign_sub(share * tf.add_n([part[1] for part in parts]))
                for _, _, unique, by_rows in parts:
                    table.scatter_sub(tf.IndexedSlices(share * by_rows, unique))
                losses = losses.write(i, tf.add_n([part[0] for part in parts]) / workers)
        return losses.stack()

    run(tf.constant(0), tf.constant(0))  # compiles, trains nothing
    began, done = time.monotonic(), 0
    while done < steps:
        count = min(every, steps - done)
        for i, loss in enumerate(run(tf.constant(done), tf.constant(count)).numpy()):
            print(f"step {done + i + 1} loss {float(loss).hex()}", flush=True)
        done += count
    seconds = time.monotonic() - began
    print(
        f"{done} steps in {seconds:.2f} s, {done * batch * workers / seconds:.0f} examples/s",
        flush=True,
    )


def main() -> None:
    """Serves, or drives, as TF_CONFIG says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rate", type=float, default=0.1)
    parser.add_argument("--every", type=int, default=0, help="steps per call; 0: a tenth of all")
    options = parser.parse_args()
    config = json.loads(os.environ["TF_CONFIG"])
    task = config["task"]
    cluster = tf.train.ClusterSpec(config["cluster"])
    tf.config.experimental.enable_op_determinism()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    if task["type"] != "chief":
        server = tf.distribute.Server(
            cluster,
            job_name=task["type"],
            task_index=task["index"],
            config=tf.compat.v1.ConfigProto(intra_op_parallelism_threads=1),
        )
        server.join()
    tf.config.experimental_connect_to_cluster(
        cluster, job_name="chief", task_index=0, make_master_device_default=False
    )
    train(options, cluster.num_tasks("worker"))


main()
