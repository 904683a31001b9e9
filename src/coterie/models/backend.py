"""Configures TensorFlow for a process: on the CPU, quiet and deterministic.

The host must not be able to change a result by environment variables. Those that TensorFlow reads
are therefore overwritten.
"""

from __future__ import annotations

import os
import sys
import threading

from coterie.errors import EnvironmentUnfit
from coterie.tensorflow_settings import INTER_OP, INTRA_OP, in_force

_ENVIRONMENT = {
    "KERAS_BACKEND": "tensorflow",
    "CUDA_VISIBLE_DEVICES": "-1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "TF_XLA_FLAGS": "",
    "XLA_FLAGS": "",
}
# TensorFlow may have read these already, and their values can change results.
_DECISIVE = ("KERAS_BACKEND", "TF_XLA_FLAGS", "XLA_FLAGS")

_lock = threading.Lock()  # TensorFlow is configured once per process, by the first thread


def configure_tensorflow(threads: int) -> None:
    """Makes TensorFlow deterministic, quiet and CPU-only in this process; safe to repeat.

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
            _require_running(threads, error)
        tf.config.experimental.enable_op_determinism()
        tf.get_logger().setLevel("ERROR")


def _require_running(threads: int, error: RuntimeError) -> None:
    """Accepts a TensorFlow that is already initialized, if it has these settings."""
    from tensorflow import config

    intra = config.threading.get_intra_op_parallelism_threads() or in_force(INTRA_OP)
    inter = config.threading.get_inter_op_parallelism_threads() or in_force(INTER_OP)
    others = sorted({device.device_type for device in config.get_visible_devices()} - {"CPU"})
    if (intra, inter, others) == (threads, 1, []):
        return
    raise EnvironmentUnfit(
        "TensorFlow already runs with other settings in this process",
        expected=f"{threads} intra-op threads, 1 inter-op thread, CPU only",
        seen=f"{intra or 'unknown'} intra-op threads, {inter or 'unknown'} inter-op threads, "
        f"{' and '.join(['CPU', *others])}",
        remedy="import coterie before anything uses TensorFlow, and use one process per setting; for a Keras "
        f"model made before such a contract, start with {INTRA_OP}={threads} {INTER_OP}=1 CUDA_VISIBLE_DEVICES=-1",
    ) from error


def _require_setting(name: str, expected: str, seen: str) -> None:
    if seen not in ("", expected):
        raise EnvironmentUnfit(
            f"{name} was set before TensorFlow was loaded",
            expected=expected or "unset",
            seen=seen,
            remedy=f"unset {name} and start again",
        )
