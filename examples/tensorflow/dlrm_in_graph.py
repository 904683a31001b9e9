"""DLRM, trained synchronously by one function that spans a parameter server and all workers.

Plain TensorFlow: it reads TF_CONFIG, as any cluster program does. The chief drives; all other tasks serve.
Each worker's part of a step takes its examples from the chief, which reads those that COTERIE_DATA names, or
makes synthetic click data without it. It takes the dense parameters and the embedding rows that it needs from
the parameter server, and gives gradients back; the server adds them in the workers' order and updates. The
whole loop is in the graph, so the chief only hears the losses.

--steps STEPS   updates; every worker has a batch in each
--every STEPS   steps of one call of the function; a tenth of all by default
--scores DIR    the chief writes the trained model's scores of the test examples, and their labels, as pairs of float32
                into DIR/chief-0.f32: needs the node's --data, and a directory that exists

    dlrm_in_graph.py [--steps 50] [--batch 128] [--rows 100000] [--every STEPS] [--optimizer sgd] [--rate 0.1]
        [--scores DIR]
"""

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import tensorflow as tf

COLUMNS, DIM, VECTORS = 26, 16, 27
LAYERS = ((13, 512), (512, 256), (256, 64), (64, 16), (16 + 351, 512), (512, 256), (256, 1))
SHAPES = [shape for fan_in, fan_out in LAYERS for shape in ((fan_in, fan_out), (fan_out,))]
SIZES = [int(np.prod(shape)) for shape in SHAPES]
PAIRS = np.ravel_multi_index(np.tril_indices(VECTORS, -1), (VECTORS, VECTORS))
SERVER = "/job:ps/replica:0/task:0/device:CPU:0"
CHIEF = "/job:chief/replica:0/task:0/device:CPU:0"
DATA = json.loads(os.environ.get("COTERIE_DATA", "{}"))
NUMERIC = 13
WIDTH = 1 + NUMERIC + COLUMNS
SCORED = 1024  # test examples at a time
FIRST_SUM = 1e-10  # of Adagrad
Parts = tuple[tf.Tensor, tf.Tensor, tf.Tensor]


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


def decoded(records: tf.Tensor) -> Parts:
    """Numbers, ids and labels of records: label and numbers as float32, then ids as int32."""
    floats = tf.bitcast(records[:, : 1 + NUMERIC], tf.float32)
    return floats[:, 1:], records[:, 1 + NUMERIC :], floats[:, 0]


class Model:
    """The variables on the parameter server, and their updates.

    Args:
        options: The program's options.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.rate, self.adagrad = options.rate, options.optimizer == "adagrad"
        shape, bound = [options.rows, DIM], (COLUMNS / options.rows) ** 0.5
        with tf.device(SERVER):
            self.dense = tf.Variable(initial_dense())
            self.table = tf.Variable(tf.random.stateless_uniform(shape, [7, 99], -bound, bound))
            if self.adagrad:
                self.dense_sums = tf.Variable(tf.fill([sum(SIZES)], FIRST_SUM))
                self.table_sums = tf.Variable(tf.fill(shape, FIRST_SUM))

    def update(self, parts: list[tuple[tf.Tensor, tf.Tensor, tf.Tensor]]) -> None:
        """Applies the workers' gradients: of the dense parameters, and of rows (their ids, gradients)."""
        share = 1 / len(parts)
        by_dense = share * tf.add_n([part[0] for part in parts])
        if not self.adagrad:
            self.dense.assign_sub(self.rate * by_dense)
            for _, ids, by_rows in parts:
                self.table.scatter_sub(tf.IndexedSlices(self.rate * share * by_rows, ids))
            return
        self.dense_sums.assign_add(by_dense * by_dense)
        self.dense.assign_sub(self.rate * by_dense * tf.math.rsqrt(self.dense_sums))
        ids, places = tf.unique(tf.concat([part[1] for part in parts], 0))
        several = share * tf.concat([part[2] for part in parts], 0)
        by_rows = tf.math.unsorted_segment_sum(several, places, tf.size(ids))
        self.table_sums.scatter_add(tf.IndexedSlices(by_rows * by_rows, ids))
        change = self.rate * by_rows * tf.math.rsqrt(tf.gather(self.table_sums, ids))
        self.table.scatter_sub(tf.IndexedSlices(change, ids))


def train(options: argparse.Namespace, workers: int) -> Model:
    """Builds the function, and calls it for some steps at a time."""
    steps, batch, rows = options.steps, options.batch, options.rows
    every = options.every or max(1, steps // 10)
    model = Model(options)

    def gradients(worker: int, step: tf.Tensor, own: tf.Tensor | None) -> tuple[tf.Tensor, ...]:
        with tf.device(f"/job:worker/replica:0/task:{worker}/device:CPU:0"):
            x, ids, labels = (
                clicks(worker, step, batch, rows) if own is None else decoded(tf.identity(own))
            )
            unique, places = tf.unique(tf.reshape(ids, [-1]))
        with tf.device(SERVER):
            own_rows, own_dense = tf.gather(model.table, unique), tf.identity(model.dense)
        with tf.device(f"/job:worker/replica:0/task:{worker}/device:CPU:0"):
            own_rows, own_dense = tf.identity(own_rows), tf.identity(own_dense)
            with tf.GradientTape() as tape:
                tape.watch([own_dense, own_rows])
                vectors = tf.reshape(tf.gather(own_rows, places), [-1, COLUMNS, DIM])
                outputs = logits(own_dense, x, vectors)
                each = tf.nn.sigmoid_cross_entropy_with_logits(labels, outputs)
                loss = tf.reduce_mean(each)
            by_dense, by_rows = tape.gradient(loss, [own_dense, own_rows])
            right = tf.reduce_mean(tf.cast(tf.equal(outputs > 0, labels > 0), tf.float32))
            return tf.stack([loss, right]), by_dense, unique, tf.convert_to_tensor(by_rows)

    @tf.function(reduce_retracing=True)
    def run(first: tf.Tensor, count: tf.Tensor, records: tf.Tensor) -> tf.Tensor:
        told = tf.TensorArray(tf.float32, size=count)
        for i in tf.range(count):
            own = [None] * workers
            if DATA:
                with tf.device(CHIEF):
                    own = tf.unstack(records[i])
            parts = [gradients(worker, first + i, own[worker]) for worker in range(workers)]
            with tf.device(SERVER):
                model.update([part[1:] for part in parts])
                told = told.write(i, tf.add_n([part[0] for part in parts]) / workers)
        return told.stack()

    batches = Batches((workers, batch, WIDTH))
    run(tf.constant(0), tf.constant(0), batches.next(0))  # compiles, trains nothing
    began, done = time.monotonic(), 0
    while done < steps:
        count = min(every, steps - done)
        told = run(tf.constant(done), tf.constant(count), batches.next(count)).numpy()
        for i, (loss, right) in enumerate(told):
            print(f"step {done + i + 1} accuracy {right:.4f} loss {float(loss).hex()}", flush=True)
        done += count
    seconds = time.monotonic() - began
    print(
        f"{done} steps in {seconds:.2f} s, {done * batch * workers / seconds:.0f} examples/s",
        flush=True,
    )
    return model


class Batches:
    """The chief's training examples in the order of the file, again and again.

    Args:
        shape: Of one step's records: workers, examples, fields.
    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self._shape = shape
        self._records = read(DATA["train"]) if DATA else np.zeros((0, WIDTH), np.int32)
        self._next = 0

    def next(self, steps: int) -> tf.Tensor:
        """The records of the next steps; none without examples."""
        size = steps * self._shape[0] * self._shape[1] if DATA else 0
        places = (self._next + np.arange(size)) % max(1, len(self._records))
        self._next += size
        with tf.device(CHIEF):
            return tf.constant(self._records[places].reshape(-1, *self._shape))


def read(path: str) -> np.ndarray[tuple[int, int], np.dtype[np.int32]]:
    """A file of records, n x 40; it stays on the disk or wherever it is."""
    return np.memmap(path, np.int32, "r").reshape(-1, WIDTH)


def score(model: Model, folder: Path) -> None:
    """Writes the scores of the chief's test examples, and their labels."""

    @tf.function(reduce_retracing=True)
    def scored(records: tf.Tensor) -> tf.Tensor:
        with tf.device(CHIEF):
            x, ids, labels = decoded(records)
            unique, places = tf.unique(tf.reshape(ids, [-1]))
        with tf.device(SERVER):
            rows, dense = tf.gather(model.table, unique), tf.identity(model.dense)
        with tf.device(CHIEF):
            vectors = tf.reshape(tf.gather(rows, places), [-1, COLUMNS, DIM])
            return tf.stack([logits(tf.identity(dense), x, vectors), labels], 1)

    records = read(DATA["test"])
    with tf.device(CHIEF):
        found = [
            scored(tf.constant(records[first : first + SCORED])).numpy()
            for first in range(0, len(records), SCORED)
        ]
    np.concatenate(found).tofile(folder / "chief-0.f32")


def main() -> None:
    """Serves, or drives, as TF_CONFIG says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rows", type=int, default=DATA.get("table_rows", 100_000))
    parser.add_argument("--optimizer", choices=("sgd", "adagrad"), default="sgd")
    parser.add_argument("--rate", type=float, default=0.1)
    parser.add_argument("--scores", type=Path, help="existing directory; needs COTERIE_DATA")
    parser.add_argument("--every", type=int, default=0, help="steps per call; 0: a tenth of all")
    options = parser.parse_args()
    config = json.loads(os.environ["TF_CONFIG"])
    task = config["task"]
    if options.scores and not DATA and task["type"] == "chief":
        parser.error("--scores needs test examples: give the run --data")
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
    model = train(options, cluster.num_tasks("worker"))
    if options.scores:
        score(model, options.scores)


main()
