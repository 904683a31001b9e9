"""Steps over all workers and the server, again and again, for so many seconds (the argument)."""

import json
import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import tensorflow as tf

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


@tf.function
def train() -> tf.Tensor:
    """Every worker adds one to the server's variable."""
    parts = []
    for worker in range(cluster.num_tasks("worker")):
        with tf.device(f"/job:worker/task:{worker}"):
            # An op with a state, since TensorFlow folds constants away.
            drawn = tf.random.uniform([100])
            parts.append(tf.reduce_sum(tf.cast(drawn >= 0, tf.int32)) // 100)
    with tf.device("/job:ps/task:0"):
        return total.assign_add(tf.add_n(parts))


until, steps = time.monotonic() + float(sys.argv[1]), 0
while time.monotonic() < until:
    sum_of_all = int(train())
    steps += 1
    time.sleep(0.02)
print("steps", steps, "sum", sum_of_all, flush=True)
