"""Scores a data frame; the result is a frame of the same library, polars or pandas."""

from __future__ import annotations

from importlib import import_module

import polars as pl

from coterie.data.prepare.data_frames import Frame, PandasFrame, is_frame
from coterie.data.prepare.layout import Layout
from coterie.serving.prediction import predict_frame
from coterie.trained.trained_model import TrainedModel

__all__ = ["is_frame", "predict"]


def predict(model: TrainedModel, frame: Frame, layout: Layout, max_bad_rows: int) -> object:
    """Scores a frame's rows.

    Args:
        model: The model.
        frame: The rows, of polars or pandas. Pandas is imported only for its own frames.
        layout: Names of its columns, and which of them to keep.
        max_bad_rows: Bad rows that are left out at most.

    Returns:
        ``row``, the kept columns and ``probability``; a frame of pandas has the index of ``frame``.
    """
    scored = predict_frame(model, frame, layout=layout, max_bad_rows=max_bad_rows)
    if isinstance(frame, pl.DataFrame):
        return scored
    pandas = import_module(type(frame).__module__.split(".")[0])
    columns = {name: scored[name].to_numpy() for name in scored.columns}
    index = [frame.index[row] for row in scored["row"].to_list()]
    made: PandasFrame = pandas.DataFrame(columns, index=index)
    return made
