"""TensorFlow's settings for a process: on the CPU, quiet, and the same bits every time.

Nothing that the host can set from outside may change a result, so the variables that TensorFlow
would read are overwritten.
"""

from __future__ import annotations

import os
import sys
import threading

from coterie.errors import EnvironmentUnfit

_ENVIRONMENT = {
    "KERAS_BACKEND": "tensorflow",
    "CUDA_VISIBLE_DEVICES": "-1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "TF_XLA_FLAGS": "",
    "XLA_FLAGS": "",
}
# Of these, a value that TensorFlow has already read can change results.
_DECISIVE = ("KERAS_BACKEND", "TF_XLA_FLAGS", "XLA_FLAGS")

_lock = threading.Lock()


def configure_tensorflow(threads: int) -> None:
    """Makes TensorFlow deterministic, quiet and CPU-only in this process; repeating it is harmless.

    Args:
        threads: Intra-op threads; sums depend on it, so the contract fixes it.

    Raises:
        EnvironmentUnfit: TensorFlow already runs with other settings in this process.
    """
    with _lock:
        if "tensorflow" in sys.modules:
            for name in _DECISIVE:
                _require_setting(name, _ENVIRONMENT[name], os.environ.get(name, ""))
        os.environ.update(_ENVIRONMENT)
        import keras
        import tensorflow as tf

        _require_setting("KERAS_BACKEND", "tensorflow", keras.backend.backend())
        try:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(1)
            tf.config.set_visible_devices(tf.config.list_physical_devices("CPU"))
        except RuntimeError as error:
            raise EnvironmentUnfit(
                "TensorFlow already runs with other settings in this process",
                expected=f"{threads} intra-op threads, 1 inter-op thread, CPU only",
                seen=f"{tf.config.threading.get_intra_op_parallelism_threads()} intra-op threads, "
                f"{tf.config.threading.get_inter_op_parallelism_threads()} inter-op threads",
                remedy="use one process per setting, or call configure_tensorflow before any "
                "other use of TensorFlow",
            ) from error
        tf.config.experimental.enable_op_determinism()
        tf.get_logger().setLevel("ERROR")


def _require_setting(name: str, expected: str, seen: str) -> None:
    if seen not in ("", expected):
        raise EnvironmentUnfit(
            f"{name} was set before TensorFlow was loaded",
            expected=expected or "unset",
            seen=seen,
            remedy=f"unset {name} and start again",
        )
