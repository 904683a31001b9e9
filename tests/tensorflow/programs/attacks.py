"""Two workers and a parameter server, of which worker 0 is honest, and the others try to get what is not theirs.

Each process puts its secret, which lies in FOLDER, where only it can read it: into /proc/self/comm. Worker 0
feeds its own to its graph, too, step after step, until FOLDER/done is there. An attacker prints a line for
each attack: what it got, or the error.

    attacks.py FOLDER
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import tensorflow as tf

v1 = tf.compat.v1
v1.disable_eager_execution()
FOLDER = Path(sys.argv[1])
CONFIG = json.loads(os.environ["TF_CONFIG"])
ROLE, INDEX = CONFIG["task"]["type"], CONFIG["task"]["index"]
PS, HONEST, OWN = "/job:ps/task:0", "/job:worker/task:0", f"/job:{ROLE}/task:{INDEX}"
SECONDS = 8.0
SECRET_FILE = "/proc/self/comm"
FILTERS = v1.ConfigProto(device_filters=["/job:ps", OWN])
IMPATIENT = v1.ConfigProto(operation_timeout_in_ms=2000)


def read(device: str) -> tf.Tensor:
    """The secret of whoever runs this."""
    with v1.device(device):
        return tf.io.read_file(tf.constant(SECRET_FILE))


def in_functions(device: str) -> tf.Tensor:
    """The same in a function that a function calls, on a device."""

    @tf.function
    def inner() -> tf.Tensor:
        return tf.io.read_file(SECRET_FILE)

    @tf.function
    def outer() -> tf.Tensor:
        return tf.strings.join([inner(), ""])

    with v1.device(device):
        return outer()


def in_a_condition(device: str) -> tf.Tensor:
    """The same in one branch of a condition whose other one is harmless."""
    with v1.device(device):
        true = tf.random.uniform(()) < 2
        return tf.cond(true, lambda: tf.io.read_file(SECRET_FILE), lambda: tf.constant("x"))


def beside(device: str) -> tf.Tensor:
    """The same, colocated with another operation."""
    with v1.device(device):
        other = tf.constant("x", name="other")
    with v1.colocate_with(other):
        return tf.io.read_file(tf.constant(SECRET_FILE))


def in_python(device: str) -> tf.Tensor:
    """The same by Python code."""
    with v1.device(device):
        return v1.py_func(lambda: Path(SECRET_FILE).read_text(), [], tf.string)


def written(device: str) -> tf.Tensor:
    """A file at the owner of a device."""
    with v1.device(device):
        write = tf.io.write_file(str(FOLDER / "written"), "x")
        with tf.control_dependencies([write]):
            return tf.constant("written")


def attempt(name: str, target: str, build: Callable[[str], tf.Tensor], device: str) -> None:
    """Runs an attack, and tells how it went."""
    filters = IMPATIENT if device == HONEST or ROLE == "ps" else FILTERS
    try:
        with tf.Graph().as_default(), v1.Session(target, config=filters) as session:
            got = session.run(build(device)).decode().strip()
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        got = f"failed: {type(error).__name__}"
    print(f"{name}: {got}", flush=True)


def honest(target: str) -> None:
    """Feeds the secret step after step: to an operation of its own, whose length alone the server gets."""
    with v1.device(OWN):
        fed = v1.placeholder(tf.string, (), name="secret")
        length = tf.cast(tf.strings.length(fed), tf.float32)
    with v1.device(PS):
        total = v1.get_variable("total", (), initializer=v1.zeros_initializer())
        added = total.assign_add(length)
    (FOLDER / "training").touch()
    steps = 0
    while not (FOLDER / "done").exists():
        try:  # each attack of the parameter server ends its connections
            with v1.Session(target, config=FILTERS) as session:
                session.run(total.initializer)
                while not (FOLDER / "done").exists():
                    session.run(added, {fed: secret})
                    steps += 1
                    time.sleep(0.05)
        except (tf.errors.UnavailableError, tf.errors.AbortedError):
            time.sleep(0.1)
    print(f"trained: {steps > 0}", flush=True)


secret = (FOLDER / f"{ROLE}{INDEX}").read_text()
Path(SECRET_FILE).write_text(secret)
options = FILTERS if ROLE == "worker" else None
server = tf.distribute.Server(CONFIG["cluster"], job_name=ROLE, task_index=INDEX, config=options)
if OWN == HONEST:
    honest(server.target)
else:
    while not (FOLDER / "training").exists():
        time.sleep(0.1)
if ROLE == "ps":
    attempt("worker", server.target, read, HONEST)
    address = CONFIG["cluster"]["worker"][0]
    attempt("master", f"grpc://{address}", read, HONEST)
    (FOLDER / "served").touch()
    server.join()
if OWN == "/job:worker/task:1":
    attempt("plain", server.target, read, PS)
    attempt("functions", server.target, in_functions, PS)
    attempt("condition", server.target, in_a_condition, PS)
    attempt("beside", server.target, beside, PS)
    attempt("write", server.target, written, PS)
    attempt("python", server.target, in_python, PS)
    while not (FOLDER / "served").exists():
        time.sleep(0.1)
    # TensorFlow waits for a worker that does not answer as long as it takes.
    last = threading.Thread(
        target=attempt, args=("other", server.target, read, HONEST), daemon=True
    )
    last.start()
    last.join(SECONDS)
    if last.is_alive():
        print("other: no answer", flush=True)
    (FOLDER / "done").touch()
    os._exit(0)  # that thread does not end
