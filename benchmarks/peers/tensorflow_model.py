"""The model in plain TensorFlow: gradients and updates written out, as a peer's users would at best."""

from __future__ import annotations

from typing import Any  # TensorFlow has no types

import tensorflow as tf

from benchmarks.peers.model import BOTTOM, COLUMNS, DIM, LEARNING_RATE, column_rows, layers


def make_tables(rows: int, *, fused: bool) -> list[Any]:
    """One table, or one for each column."""
    each = column_rows(rows)
    sizes = [each * COLUMNS] if fused else [each] * COLUMNS
    generator = tf.random.Generator.from_seed(3)
    return [tf.Variable(generator.uniform((size, DIM), -0.01, 0.01)) for size in sizes]


def make_dense() -> list[Any]:
    """Kernels and biases."""
    return [tf.Variable(layer) for layer in layers()]


def embed(tables: list[Any], ids_bm: Any, rows: int) -> list[Any]:
    """What is looked up: one tensor [b, m, dim], or one [b, dim] for each column."""
    if len(tables) == 1:
        return [tf.gather(tables[0], ids_bm)]
    each = column_rows(rows)
    return [tf.gather(table, ids_bm[:, i] - i * each) for i, table in enumerate(tables)]


def loss_of(dense: list[Any], dense_bn: Any, embedded: list[Any], labels_b: Any) -> Any:
    """Mean loss of the DLRM."""
    half = 2 * (len(BOTTOM) - 1)
    bottom_bd = _mlp(dense[:half], dense_bn, last_relu=True)
    columns = embedded[0] if len(embedded) == 1 else tf.stack(embedded, axis=1)
    vectors = tf.concat([bottom_bd[:, None], columns], axis=1)
    dots = tf.matmul(vectors, vectors, transpose_b=True)
    lower = [(i, j) for i in range(COLUMNS + 1) for j in range(i)]
    flat = tf.reshape(dots, [-1, (COLUMNS + 1) ** 2])
    chosen = tf.gather(flat, [i * (COLUMNS + 1) + j for i, j in lower], axis=1)
    logits = _mlp(dense[half:], tf.concat([bottom_bd, chosen], axis=1), last_relu=False)[:, 0]
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels_b, logits))


def train_step(tables: list[Any], dense: list[Any], rows: int, batch: tuple[Any, Any, Any]) -> Any:
    """One SGD step; sparse gradients stay sparse."""
    dense_bn, ids_bm, labels_b = batch
    embedded = embed(tables, ids_bm, rows)
    values = [tf.convert_to_tensor(variable) for variable in dense]
    with tf.GradientTape() as tape:
        tape.watch([*embedded, *values])
        loss = loss_of(values, dense_bn, embedded, labels_b)
    found = tape.gradient(loss, [*embedded, *values])
    each = column_rows(rows)
    for i, table in enumerate(tables):
        ids = ids_bm if len(tables) == 1 else ids_bm[:, i] - i * each
        update = -LEARNING_RATE * tf.reshape(found[i], [-1, DIM])
        table.scatter_add(tf.IndexedSlices(update, tf.reshape(ids, [-1])))
    for variable, gradient in zip(dense, found[len(embedded) :], strict=True):
        variable.assign_sub(LEARNING_RATE * gradient)
    return loss


def _mlp(parameters: list[Any], inputs: Any, *, last_relu: bool) -> Any:
    outputs = inputs
    for i in range(0, len(parameters), 2):
        outputs = tf.matmul(outputs, parameters[i]) + parameters[i + 1]
        if last_relu or i + 2 < len(parameters):
            outputs = tf.nn.relu(outputs)
    return outputs
