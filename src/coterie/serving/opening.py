"""Finds the trained model that a path means: a model file, or what a run left."""

from __future__ import annotations

from pathlib import Path

from coterie.errors import ModelDamaged
from coterie.trained import MODEL_NAME, TrainedModel


def open_model(path: Path) -> TrainedModel:
    """Reads a trained model.

    Args:
        path: The model's file, or the directory of a run or of a node that got it.

    Raises:
        ModelDamaged: There is none, it cannot be read, or any byte was altered.
    """
    if not path.is_dir():
        return TrainedModel.read(path)
    file = path / MODEL_NAME
    if not file.exists():
        raise ModelDamaged(
            f"{path} holds no trained model",
            expected=f"{MODEL_NAME}, as a finished run leaves it at the parties that get it",
            seen="none",
            remedy="name the directory of a finished run, or the model's file",
        )
    return TrainedModel.read(file)
