"""A small network under MultiWorkerMirroredStrategy: every task trains, gradients go round by collectives.

Plain TensorFlow: it reads TF_CONFIG, as any cluster program does. All tasks run the same steps in lockstep.

--steps STEPS   updates; every task has a batch in each

    multi_worker_mirrored.py [--steps 40] [--batch 64]
"""

import argparse
import itertools
import json
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import tensorflow as tf


def main() -> None:
    """Trains, as every task does; the chief prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batch", type=int, default=64)
    options = parser.parse_args()
    task = json.loads(os.environ["TF_CONFIG"])["task"]
    tf.config.experimental.enable_op_determinism()
    tf.random.set_seed(7)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    communication = tf.distribute.experimental.CommunicationOptions(
        implementation=tf.distribute.experimental.CommunicationImplementation.RING
    )
    strategy = tf.distribute.MultiWorkerMirroredStrategy(communication_options=communication)
    with strategy.scope():
        sizes = (13, 256, 128, 1)
        kernels = [
            tf.Variable(tf.random.stateless_normal([a, b], [7, a]) * (2 / (a + b)) ** 0.5)
            for a, b in itertools.pairwise(sizes)
        ]

    @tf.function
    def step_of_all(step: tf.Tensor) -> tf.Tensor:
        def replica(step: tf.Tensor) -> tf.Tensor:
            replica_id = tf.distribute.get_replica_context().replica_id_in_sync_group
            x = tf.random.stateless_normal(
                [options.batch, 13], [tf.cast(replica_id, tf.int32), step]
            )
            labels = tf.cast(x[:, 0] > 0, tf.float32)
            with tf.GradientTape() as tape:
                h = x
                for kernel in kernels[:-1]:
                    h = tf.nn.relu(h @ kernel)
                each = tf.nn.sigmoid_cross_entropy_with_logits(labels, (h @ kernels[-1])[:, 0])
                loss = tf.reduce_mean(each)
            gradients = tape.gradient(loss, kernels)
            context = tf.distribute.get_replica_context()
            for kernel, gradient in zip(kernels, gradients, strict=True):
                kernel.assign_sub(0.1 * context.all_reduce(tf.distribute.ReduceOp.MEAN, gradient))
            return loss

        losses = strategy.run(replica, args=(step,))
        return strategy.reduce(tf.distribute.ReduceOp.MEAN, losses, axis=None)

    for i in range(options.steps):
        loss = float(step_of_all(tf.constant(i)))
        if task["type"] == "chief":
            print(f"step {i + 1} loss {loss.hex()}", flush=True)


main()
