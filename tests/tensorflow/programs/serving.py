"""A server of TensorFlow's cluster that does what it is asked, and nothing by itself."""

import json
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import tensorflow as tf

config = json.loads(os.environ["TF_CONFIG"])
task = config["task"]
tf.distribute.Server(config["cluster"], job_name=task["type"], task_index=task["index"]).join()
