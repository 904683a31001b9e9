"""Coterie: companies train recommendation models together without showing each other their data.

The names below are the public interface; ``docs/python.md`` shows how to use them. They are
imported at first use, and none imports TensorFlow before it needs it. Everything else may change.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from coterie import grpc_settings, tensorflow_settings

grpc_settings.prepare()
tensorflow_settings.prepare()

if TYPE_CHECKING:
    from coterie.api import (
        continue_from,
        describe_model,
        evaluate,
        export,
        load_contract,
        load_model,
        local,
        predict,
        predict_frame,
        prepare,
        read_history,
        read_result,
        results_frame,
        run,
        synthesize,
    )
    from coterie.contract import Contract, KerasModelSection
    from coterie.data.prepare.preparation import PrepareReport
    from coterie.data.prepare.synthetic import SynthesizeReport
    from coterie.errors import CoterieError
    from coterie.metrics.binary import Metrics
    from coterie.runs.history import History
    from coterie.runs.result import RunResult
    from coterie.serving.evaluation import Evaluation
    from coterie.serving.prediction import Predictions
    from coterie.trained.trained_model import TrainedModel

__version__ = "0.1.0"

__all__ = [
    "Contract",
    "CoterieError",
    "Evaluation",
    "History",
    "KerasModelSection",
    "Metrics",
    "Predictions",
    "PrepareReport",
    "RunResult",
    "SynthesizeReport",
    "TrainedModel",
    "__version__",
    "continue_from",
    "describe_model",
    "evaluate",
    "export",
    "load_contract",
    "load_model",
    "local",
    "predict",
    "predict_frame",
    "prepare",
    "read_history",
    "read_result",
    "results_frame",
    "run",
    "synthesize",
]

_CLASSES = {
    "Contract": "coterie.contract",
    "CoterieError": "coterie.errors",
    "Evaluation": "coterie.serving.evaluation",
    "History": "coterie.runs.history",
    "KerasModelSection": "coterie.contract",
    "Metrics": "coterie.metrics.binary",
    "Predictions": "coterie.serving.prediction",
    "PrepareReport": "coterie.data.prepare.preparation",
    "RunResult": "coterie.runs.result",
    "SynthesizeReport": "coterie.data.prepare.synthetic",
    "TrainedModel": "coterie.trained.trained_model",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'coterie' has no attribute {name!r}")
    found: object = getattr(import_module(_CLASSES.get(name, "coterie.api")), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return __all__
