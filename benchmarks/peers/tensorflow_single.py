"""One TensorFlow process that trains the global batch: one compiled function, one fused table."""

from __future__ import annotations

import os

from benchmarks.peers.model import WARM_UP_STEPS, Meter, batches, cycle, parse, report


def main() -> None:
    """Trains and prints the figures."""
    options = parse(__doc__, ("graph", "xla"), threads=2)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf

    from benchmarks.peers.tensorflow_model import make_dense, make_tables, train_step

    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tables, dense = make_tables(options.rows, fused=True), make_dense()

    @tf.function(jit_compile=options.variant == "xla")
    def step(dense_bn, ids_bm, labels_b):
        return train_step(tables, dense, options.rows, (dense_bn, ids_bm, labels_b))

    made = batches(options.workers * options.batch, options.rows, seed=1)
    for batch in cycle(made, WARM_UP_STEPS):
        step(batch.dense_bn, batch.ids_bm, batch.labels_b)
    meter = Meter()
    for batch in cycle(made, options.steps):
        loss = step(batch.dense_bn, batch.ids_bm, batch.labels_b)
    float(loss)
    report(options, meter.spent(), processes=1)


if __name__ == "__main__":
    main()
