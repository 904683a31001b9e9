"""DLRM by between-graph replication: every worker builds its own graph, and the parameter server keeps the variables.

Plain TensorFlow: it reads TF_CONFIG, as any cluster program does, and trains on the examples that COTERIE_DATA
names (`coterie tensorflow run --data`), or on synthetic clicks without it. Workers only ask parameter servers for work (``device_filters``), and
are asked only for the tensors that they have promised, so each company's examples stay on its own machine.
Asynchronous as in the paper, or synchronous.

--steps STEPS   updates of all workers together; with --sync, updates that each worker has a part in
--save STEPS    the first worker keeps the variables every so many updates, in its node's folder: needs the node's --out
--scores DIR    every worker writes the trained model's scores of its own test examples, and their labels, as pairs of
                float32 into DIR/worker-N.f32: needs the node's --data, and a directory that exists

    dlrm_between_graph.py [--sync] [--steps 100] [--batch 128] [--rows 100000] [--optimizer sgd] [--rate 0.1] [--seed 7]
        [--save STEPS] [--scores DIR]
"""

import argparse
import json
import os
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import tensorflow as tf

v1 = tf.compat.v1
v1.disable_eager_execution()
NUMERIC, COLUMNS, DIM, VECTORS = 13, 26, 16, 27
LAYERS = ((13, 512), (512, 256), (256, 64), (64, 16), (16 + 351, 512), (512, 256), (256, 1))
PAIRS = np.ravel_multi_index(np.tril_indices(VECTORS, -1), (VECTORS, VECTORS))
OPTIMIZERS = {
    "sgd": v1.train.GradientDescentOptimizer,
    "adagrad": partial(v1.train.AdagradOptimizer, initial_accumulator_value=1e-10),
}
DATA = json.loads(os.environ.get("COTERIE_DATA", "{}"))
SHUFFLED = 1 << 16  # examples
WIDTH = 1 + NUMERIC + COLUMNS
SCORED = 1024  # test examples at a time


def examples(options: argparse.Namespace, task: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """One batch: numbers (batch x 13), ids (batch x 26), labels (batch)."""
    if DATA:
        records = tf.data.FixedLengthRecordDataset(DATA["train"], 4 * WIDTH)
        shuffled = records.shuffle(SHUFFLED, options.seed).repeat()
        batches = shuffled.batch(options.batch, drop_remainder=True)
        raw = v1.data.make_one_shot_iterator(batches).get_next()
        return decoded(raw)
    random = np.random.default_rng([options.seed, task])
    numbers = random.standard_normal((options.batch, NUMERIC)).astype(np.float32)
    ids = (options.rows * random.random((options.batch, COLUMNS)) ** 4).astype(np.int32)
    chance = 1 / (1 + np.exp(1 - numbers[:, 0] - 0.5 * numbers[:, 1]))
    labels = (random.random(options.batch) < chance).astype(np.float32)
    return tf.constant(numbers), tf.constant(ids), tf.constant(labels)


def decoded(raw: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Numbers, ids and labels of records: label and numbers as float32, then ids as int32."""
    values = tf.reshape(tf.io.decode_raw(raw, tf.int32), [-1, WIDTH])
    floats = tf.bitcast(values[:, : 1 + NUMERIC], tf.float32)
    return floats[:, 1:], values[:, 1 + NUMERIC :], floats[:, 0]


def logits(x: tf.Tensor, vectors: tf.Tensor) -> tf.Tensor:
    """DLRM (Naumov et al., 2019): x is batch x 13, vectors is batch x 26 x 16."""
    h = x
    for i, (fan_in, fan_out) in enumerate(LAYERS):
        if i == 4:
            together = tf.concat([h[:, None, :], vectors], 1)
            products = tf.matmul(together, together, transpose_b=True)
            flat = tf.reshape(products, [-1, VECTORS * VECTORS])
            h = tf.concat([h, tf.gather(flat, PAIRS, axis=1)], 1)
        glorot = v1.glorot_normal_initializer(seed=i)
        kernel = v1.get_variable(f"kernel_{i}", (fan_in, fan_out), initializer=glorot)
        bias = v1.get_variable(f"bias_{i}", (fan_out,), initializer=v1.zeros_initializer())
        h = h @ kernel + bias
        h = tf.nn.relu(h) if i != len(LAYERS) - 1 else h
    return h[:, 0]


def train(
    options: argparse.Namespace, cluster: tf.train.ClusterSpec, task: int, target: str
) -> None:
    """Builds this worker's graph, and trains its steps."""
    workers = cluster.num_tasks("worker")
    device = f"/job:worker/task:{task}"
    with v1.device(v1.train.replica_device_setter(worker_device=device, cluster=cluster)):
        x, ids, labels = examples(options, task)
        bound = (COLUMNS / options.rows) ** 0.5
        small = v1.random_uniform_initializer(-bound, bound, seed=99)
        table = v1.get_variable("table", (options.rows, DIM), initializer=small)
        outputs = logits(x, vectors_of(table, ids))
        loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels, outputs))
        right = tf.reduce_mean(tf.cast(tf.equal(outputs > 0, labels > 0), tf.float32))
        scoring = Scoring(options.scores, table, workers, task) if options.scores else None
        begun = None if options.sync else Barrier("begun", workers)
        step = v1.train.get_or_create_global_step()
        optimizer = OPTIMIZERS[options.optimizer](options.rate)
        hooks = [] if options.sync else [v1.train.StopAtStepHook(last_step=options.steps)]
        if (
            options.sync
        ):  # all workers' steps are the same ones, so each knows when it has done the last
            optimizer = v1.train.SyncReplicasOptimizer(optimizer, workers, workers)
            hooks.append(optimizer.make_session_run_hook(is_chief=task == 0, num_tokens=0))
        update = optimizer.minimize(loss, global_step=step)
    kept = None
    if options.save and task == 0:  # the only line that needs Coterie: servers may not write files
        from coterie.tensorflow.checkpoints import CheckpointHook

        kept = CheckpointHook(options.save)
        hooks.append(kept)
    creator = Creator(target, task, kept)
    # The thread that adds up gradients waits for more of them at the end.
    with v1.train.MonitoredSession(creator, hooks, stop_grace_period_secs=1) as session:
        own = (
            session.run_step_fn(lambda step_context: step_context.session.run(step))
            if options.sync
            else 0
        )
        if (
            begun is not None
        ):  # asynchronous steps of one worker would not wait for the others' start
            session.run_step_fn(begun.wait)
        began = time.monotonic()
        while not session.should_stop() and not (options.sync and own == options.steps):
            value, accuracy, _, done = session.run((loss, right, update, step))
            own += 1
            told = f"accuracy {accuracy:.4f} loss {float(value).hex()}"
            print(f"worker {task} step {done} {told}", flush=True)
        print(f"worker {task}: {time.monotonic() - began:.2f} s", flush=True)

        if scoring is not None:
            session.run_step_fn(scoring.write)


def vectors_of(table: tf.Variable, ids: tf.Tensor) -> tf.Tensor:
    """The ids' embedding vectors, batch x 26 x 16; every row comes from the server once."""
    unique, places = tf.unique(tf.reshape(ids, [-1]))
    rows = tf.gather(tf.nn.embedding_lookup(table, unique), places)
    return tf.reshape(rows, [-1, COLUMNS, DIM])


class Barrier:
    """A point that no worker passes before all have come to it. A worker that starts again finds it open.

    Args:
        name: Of the variable that counts them.
        workers: How many train.
    """

    def __init__(self, name: str, workers: int) -> None:
        zero = v1.zeros_initializer()
        self._workers = workers
        self._come = v1.get_variable(name, (), tf.int64, zero, trainable=False)
        self._add = self._come.assign_add(1, read_value=False)

    def wait(self, step_context: tf.compat.v1.train.MonitoredSession.StepContext) -> None:
        """Counts this worker, and looks ten times a second how many have come."""
        session = step_context.session
        session.run(self._add)
        while session.run(self._come) < self._workers:
            time.sleep(0.1)


class Scoring:
    """Scores a worker's test examples by the variables that are trained.

    Args:
        folder: Gets the file.
        table: The embedding table.
        workers: How many train.
        task: This one.
    """

    def __init__(self, folder: str, table: tf.Variable, workers: int, task: int) -> None:
        self._path = Path(folder, f"worker-{task}.f32")
        self._finished = Barrier("finished", workers)
        batches = tf.data.FixedLengthRecordDataset(DATA["test"], 4 * WIDTH).batch(SCORED)
        x, ids, labels = decoded(v1.data.make_one_shot_iterator(batches).get_next())
        with v1.variable_scope(v1.get_variable_scope(), reuse=True):
            self._next = tf.stack([logits(x, vectors_of(table, ids)), labels], 1)

    def write(self, step_context: tf.compat.v1.train.MonitoredSession.StepContext) -> None:
        """Waits until all workers have finished; then nothing changes the model any more."""
        session, found = step_context.session, []
        self._finished.wait(step_context)
        with suppress(tf.errors.OutOfRangeError):
            while True:
                found.append(session.run(self._next))
        np.concatenate(found).tofile(self._path)


class Creator(tf.compat.v1.train.SessionCreator):
    """Makes a worker's session: the first worker initializes the variables, the others look each second."""

    def __init__(self, master: str, task: int, kept: tf.compat.v1.train.SessionRunHook) -> None:
        self._master = master
        self._task = task
        self._kept = kept

    def create_session(self) -> tf.compat.v1.Session:
        """Called at the start, and after a lost session."""
        scaffold = v1.train.Scaffold().finalize()
        manager = v1.train.SessionManager(
            local_init_op=scaffold.local_init_op,
            ready_op=scaffold.ready_op,
            ready_for_local_init_op=scaffold.ready_for_local_init_op,
            graph=v1.get_default_graph(),
            recovery_wait_secs=1,
        )
        config = config_of(self._task)
        if self._task:
            return manager.wait_for_session(self._master, config=config)
        init, feeds = (
            self._kept.initial(scaffold.init_op) if self._kept else (scaffold.init_op, None)
        )
        return manager.prepare_session(
            self._master, init_op=init, init_feed_dict=feeds, config=config
        )


def config_of(task: int) -> tf.compat.v1.ConfigProto:
    """A worker talks to parameter servers and itself, and to no other worker."""
    return v1.ConfigProto(
        device_filters=["/job:ps", f"/job:worker/task:{task}"], intra_op_parallelism_threads=1
    )


def main() -> None:
    """Serves or trains, as TF_CONFIG says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sync", action="store_true")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rows", type=int, default=DATA.get("table_rows", 100_000))
    parser.add_argument("--optimizer", choices=OPTIMIZERS, default="sgd")
    parser.add_argument("--rate", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--save", type=int, default=0, help="steps between checkpoints")
    parser.add_argument("--scores", help="existing directory; needs COTERIE_DATA")
    options = parser.parse_args()
    config = json.loads(os.environ["TF_CONFIG"])
    task = config["task"]
    if options.scores and not DATA and task["type"] == "worker":
        parser.error("--scores needs test examples: give the run --data")
    cluster = tf.train.ClusterSpec(config["cluster"])
    filters = config_of(task["index"]) if task["type"] == "worker" else v1.ConfigProto()
    server = tf.distribute.Server(
        cluster, job_name=task["type"], task_index=task["index"], config=filters
    )
    if task["type"] == "ps":
        server.join()
    train(options, cluster, task["index"], server.target)


main()
