"""Models and metrics. The Keras models are in ``coterie.models.dlrm``: only that loads TensorFlow."""

from coterie.models.metrics import (
    HISTOGRAM_BINS,
    Metrics,
    ScoreHistogram,
    accuracy,
    calibration,
    evaluate,
    expected_calibration_error,
    log_loss,
    roc_auc,
)

__all__ = [
    "HISTOGRAM_BINS",
    "Metrics",
    "ScoreHistogram",
    "accuracy",
    "calibration",
    "evaluate",
    "expected_calibration_error",
    "log_loss",
    "roc_auc",
]
