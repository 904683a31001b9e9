"""Collects what a run reports during training as curves, for programs that start or read a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from coterie.contract import load_contract
from coterie.errors import DataError
from coterie.runs.curve import MAX_POINTS, Curve, Point
from coterie.runs.event_log import FILE, read_events
from coterie.runs.events import Event, Restarted, Resumed, ValidationDone
from coterie.runs.run_files import CONTRACT

if TYPE_CHECKING:
    import polars as pl


class History:
    """A run's curves. Pass it as ``on_event``, or read it from a run's directory.

    Long runs are kept in a bounded number of points, each a mean over consecutive steps. After a
    return to a checkpoint, the steps that are trained again replace the earlier ones.

    Args:
        max_points: Largest number of points of the training curve that are kept.
    """

    def __init__(self, max_points: int = MAX_POINTS) -> None:
        self._curve = Curve(max_points)
        self._validations: list[ValidationDone] = []

    @classmethod
    def read(cls, run: Path) -> History:
        """The history of a run, finished or not, from the log in its directory.

        Raises:
            DataError: The directory holds no run.
        """
        folder = run
        if (
            not (run / FILE).exists() and (run / CONTRACT).exists()
        ):  # with `coterie run`, the server keeps the log
            folder = run / "nodes" / load_contract(run / CONTRACT).by_role("ps")[0].name
        if not (folder / FILE).exists():
            raise DataError(
                f"{run} holds no run that kept a log",
                expected="the directory of `coterie run` or `local`, or a parameter server's --out",
                seen=f"no {folder / FILE}",
                remedy="name the directory of a run",
            )
        history = cls()
        for event in read_events(folder):
            history(event)
        return history

    def __call__(self, event: Event) -> None:
        """Adds an event."""
        self._curve.on_event(event)
        match event:
            case ValidationDone():
                self._validations.append(event)
            case Resumed(step=step) | Restarted(step=step):
                self._validations = [one for one in self._validations if one.step <= step]
            case _:
                pass

    @property
    def points(self) -> tuple[Point, ...]:
        """The training curve: step, mean loss and accuracy, and the number of their examples."""
        return self._curve.points

    @property
    def validations(self) -> tuple[ValidationDone, ...]:
        """The validations while the model was trained."""
        return tuple(self._validations)

    def to_frame(self) -> pl.DataFrame:
        """Both curves as one table, by step; null where a step lacks a value."""
        import polars as pl

        training = pl.DataFrame(
            [(one.step, one.examples, one.loss, one.accuracy) for one in self.points],
            schema={
                "step": pl.Int64,
                "examples": pl.Int64,
                "loss": pl.Float64,
                "accuracy": pl.Float64,
            },
            orient="row",
        )
        validation = pl.DataFrame(
            [(one.step, one.log_loss, one.auc) for one in self._validations],
            schema={"step": pl.Int64, "validation_loss": pl.Float64, "validation_auc": pl.Float64},
            orient="row",
        )
        return training.join(validation, on="step", how="full", coalesce=True).sort("step")
