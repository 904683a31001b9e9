"""A chief that goes on without a worker that has died, and takes it in again when it is told that it is back.

Argument: a file; when it exists, the worker is back.
"""

import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import tensorflow as tf
from tensorflow.core.protobuf import tensorflow_server_pb2
from tensorflow.python.eager import context

config = json.loads(os.environ["TF_CONFIG"])
task = config["task"]
cluster = tf.train.ClusterSpec(config["cluster"])
if task["type"] != "chief":
    tf.distribute.Server(cluster, job_name=task["type"], task_index=task["index"]).join()
tf.config.experimental_connect_to_cluster(
    cluster, job_name="chief", task_index=0, make_master_device_default=False
)
with tf.device("/job:ps/task:0"):
    total = tf.Variable(0)


def train_with(workers: list[int]):  # noqa: ANN201 (TensorFlow has no types)
    """One step: every worker adds one to the server's variable."""

    @tf.function
    def train() -> tf.Tensor:
        parts = []
        for worker in workers:
            with tf.device(f"/job:worker/task:{worker}"):
                # An op with a state, since TensorFlow folds constants away.
                drawn = tf.random.uniform([100])
                parts.append(tf.reduce_sum(tf.cast(drawn >= 0, tf.int32)) // 100)
        with tf.device("/job:ps/task:0"):
            return total.assign_add(tf.add_n(parts))

    return train


def members(workers: list[int]) -> None:
    """Tells TensorFlow who takes part."""
    definition = tensorflow_server_pb2.ServerDef()
    definition.CopyFrom(context.context().get_server_def())
    for job in definition.cluster.job:
        if job.name == "worker":
            job.tasks.clear()
            for worker in workers:
                job.tasks[worker] = config["cluster"]["worker"][worker]
    context.context().update_server_def(definition)


train = train_with([0, 1])
print("both", int(train()), flush=True)
try:
    while True:
        train()
        time.sleep(0.01)
except tf.errors.OpError as error:
    print("lost", type(error).__name__, flush=True)
members([0])
one = train_with([0])
before = int(one())
print("without", int(one()) - before, flush=True)
while not Path(sys.argv[1]).exists():
    time.sleep(0.05)
members([0, 1])
both = train_with([0, 1])
before = int(both())
print("again", int(both()) - before, flush=True)
