"""Models and metrics. The Keras models are in ``coterie.models.dlrm``: only that loads TensorFlow."""

from coterie.models.histogram import ScoreHistogram
from coterie.models.metrics import (
    Metrics,
    accuracy,
    calibration,
    expected_calibration_error,
    log_loss,
    roc_auc,
)

__all__ = [
    "Metrics",
    "ScoreHistogram",
    "accuracy",
    "calibration",
    "expected_calibration_error",
    "log_loss",
    "roc_auc",
]
