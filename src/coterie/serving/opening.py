"""Finds the trained model at a path: a model file, or a run's directory."""

from __future__ import annotations

from pathlib import Path

from coterie.errors import ModelDamaged
from coterie.sealed.sealed_model import SEALED_MODEL_NAME
from coterie.trained.trained_model import MODEL_NAME, TrainedModel


def open_model(path: Path) -> TrainedModel:
    """Reads a trained model.

    Args:
        path: The model's file, or the directory of a run or of a node that received the model.

    Raises:
        ModelDamaged: The model is absent, sealed, unreadable, or altered in any byte.
    """
    if not path.is_dir():
        if path.name.endswith(SEALED_MODEL_NAME) and path.exists():
            raise _sealed(path)
        return TrainedModel.read(path)
    file = path / MODEL_NAME
    if file.exists():
        return TrainedModel.read(file)
    if (path / SEALED_MODEL_NAME).exists():
        raise _sealed(path / SEALED_MODEL_NAME)
    raise ModelDamaged(
        f"{path} holds no trained model",
        expected=f"{MODEL_NAME}, as a finished run leaves it at the parties that get it",
        seen="none",
        remedy="name the directory of a finished run, or the model's file",
    )


def _sealed(path: Path) -> ModelDamaged:
    return ModelDamaged(
        f"the model {path} is sealed",
        expected=f"an open {MODEL_NAME}",
        seen=path.name,
        remedy="open it at its party's own place: coterie unseal SEALED OUT --key FILE",
    )
