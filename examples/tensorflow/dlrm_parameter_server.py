"""DLRM with Keras under ParameterServerStrategy: the chief coordinates, workers compute, servers hold variables.

Plain TensorFlow: it reads TF_CONFIG, as any cluster program does. Steps are asynchronous, as they are in this
strategy: with several workers two runs differ a little, with one they do not.

--steps STEPS   updates of all workers together

    dlrm_parameter_server.py [--steps 60] [--batch 128] [--rows 20000]
"""

import argparse
import json
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import keras
import tensorflow as tf

COLUMNS, DIM = 26, 16


class Dlrm(keras.Model):
    """DLRM (Naumov et al., 2019) with one fused table."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        begin = keras.initializers.RandomUniform(-0.01, 0.01, seed=7)
        self.table = keras.layers.Embedding(rows, DIM, embeddings_initializer=begin)

        def dense(width: int, seed: int, activation: str | None) -> keras.layers.Dense:
            initial = keras.initializers.GlorotNormal(seed)
            return keras.layers.Dense(width, activation, kernel_initializer=initial)

        self.bottom = keras.Sequential(
            [dense(w, i, "relu") for i, w in enumerate((512, 256, 64, DIM))]
        )
        self.top = keras.Sequential(
            [dense(512, 5, "relu"), dense(256, 6, "relu"), dense(1, 7, None)]
        )
        pairs = [(i, j) for i in range(COLUMNS + 1) for j in range(i)]
        self.pairs = tf.constant([i * (COLUMNS + 1) + j for i, j in pairs])

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        """Logits (batch) of numbers (batch x 13) and ids (batch x 26)."""
        x, ids = inputs
        h = self.bottom(x)
        together = tf.concat([h[:, None, :], self.table(ids)], 1)
        products = tf.matmul(together, together, transpose_b=True)
        flat = tf.reshape(products, [-1, (COLUMNS + 1) ** 2])
        return self.top(tf.concat([h, tf.gather(flat, self.pairs, axis=1)], 1))[:, 0]


def clicks(step: tf.Tensor, batch: int, rows: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """One batch of synthetic click data: numbers, ids, labels."""
    x = tf.random.stateless_normal([batch, 13], [1, 3 * step])
    spread = tf.random.stateless_uniform([batch, COLUMNS], [1, 3 * step + 1])
    ids = tf.cast(float(rows) * tf.pow(spread, 4.0), tf.int32)
    chance = tf.sigmoid(2.0 * x[:, 0] + x[:, 1] - 1.0)
    labels = tf.random.stateless_uniform([batch], [1, 3 * step + 2]) < chance
    return x, ids, tf.cast(labels, tf.float32)


def coordinate(steps: int, batch: int, rows: int) -> None:
    """Schedules every step on some worker; prints the losses in the order of the steps."""
    strategy = tf.distribute.ParameterServerStrategy(
        tf.distribute.cluster_resolver.TFConfigClusterResolver()
    )
    coordinator = tf.distribute.coordinator.ClusterCoordinator(strategy)
    with strategy.scope():
        model = Dlrm(rows)
        model.build([(batch, 13), (batch, COLUMNS)])
        optimizer = keras.optimizers.SGD(0.1)
        optimizer.build(model.trainable_variables)

    @tf.function
    def step_on_worker(step: tf.Tensor) -> tf.Tensor:
        def replica(step: tf.Tensor) -> tf.Tensor:
            x, ids, labels = clicks(step, batch, rows)
            with tf.GradientTape() as tape:
                each = tf.nn.sigmoid_cross_entropy_with_logits(labels, model((x, ids)))
                loss = tf.reduce_mean(each)
            gradients = tape.gradient(loss, model.trainable_variables)
            for gradient, variable in zip(gradients, model.trainable_variables, strict=True):
                update = -0.1 * tf.convert_to_tensor(gradient)
                variable.value.assign_add(update)
            return loss

        return strategy.run(replica, args=(step,))

    losses = [coordinator.schedule(step_on_worker, args=(tf.constant(i),)) for i in range(steps)]
    coordinator.join()
    values = [float(loss.fetch()) for loss in losses]
    for i, value in enumerate(values):
        print(f"step {i + 1} loss {value.hex()}", flush=True)
    tenth = max(1, steps // 10)
    first, last = sum(values[:tenth]) / tenth, sum(values[-tenth:]) / tenth
    print(
        f"{steps} steps, mean loss of the first tenth {first:.4f}, of the last {last:.4f}",
        flush=True,
    )


def main() -> None:
    """Serves, or coordinates, as TF_CONFIG says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rows", type=int, default=20_000)
    options = parser.parse_args()
    config = json.loads(os.environ["TF_CONFIG"])
    task = config["task"]
    tf.config.threading.set_intra_op_parallelism_threads(1)
    if task["type"] != "chief":
        server = tf.distribute.Server(
            tf.train.ClusterSpec(config["cluster"]),
            job_name=task["type"],
            task_index=task["index"],
            protocol="grpc",
            config=tf.compat.v1.ConfigProto(intra_op_parallelism_threads=1),
        )
        server.join()
    coordinate(options.steps, options.batch, options.rows)


main()
