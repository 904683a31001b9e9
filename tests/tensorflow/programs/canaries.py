"""Canaries: strings that a listener on the wire would know again.

The chief sends them in a variable, a feed, a file name, an
operation's name. Arguments: the canary, and a folder that the worker may write to.
"""

import json
import os
import sys

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
canary, folder = sys.argv[1:3]
with tf.device("/job:ps/task:0"):
    variable = tf.Variable(f"{canary}_in_a_variable")


@tf.function
def on_worker(fed: tf.Tensor, path: tf.Tensor) -> tf.Tensor:
    """Runs on the worker."""
    with tf.device("/job:worker/task:0"):
        length = tf.identity(tf.strings.length(fed), name=f"{canary}_in_an_operation")
        tf.io.write_file(path, fed)
        return length + tf.strings.length(variable)


length = on_worker(
    tf.constant(f"{canary}_in_a_feed"), tf.constant(f"{folder}/{canary}_in_a_file_name")
)
print("lengths", int(length), flush=True)
