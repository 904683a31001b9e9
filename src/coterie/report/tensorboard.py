"""TensorBoard's event files, written while a run goes on, without TensorFlow.

tensorboardX writes the format (TFRecord frames of Event messages); it is as small as what it does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tensorboardX import SummaryWriter

from coterie.ps.events import Event, EventSink, Finished, StepDone

_FLUSH_SECONDS = 10
_FINAL = {
    "train_loss": "train/epoch_loss",
    "validation_auc": "validation/auc",
    "test_auc": "test/auc",
    "test_logloss": "test/log_loss",
    "test_accuracy": "test/accuracy",
    "test_calibration": "test/calibration",
    "samples_per_second": "train/mean_examples_per_second",
}


@contextmanager
def tensorboard_log(folder: Path) -> Iterator[EventSink]:
    """A sink that writes an event file into a folder.

    Args:
        folder: Made if absent; one run's, as TensorBoard understands it.
    """
    writer = SummaryWriter(str(folder), flush_secs=_FLUSH_SECONDS)
    try:
        yield _Log(writer)
    finally:
        writer.close()


class _Log:
    def __init__(self, writer: SummaryWriter) -> None:
        self._writer = writer
        self._step = 0
        self._seconds = 0.0

    def __call__(self, event: Event) -> None:
        if isinstance(event, StepDone):
            self._hear_step(event)
        elif isinstance(event, Finished):
            for key, tag in _FINAL.items():
                value = event.result.get(key)
                if isinstance(value, int | float):
                    self._writer.add_scalar(tag, value, self._step)

    def _hear_step(self, done: StepDone) -> None:
        if done.loss is not None:
            self._writer.add_scalar("train/loss", done.loss, done.step)
        if done.accuracy is not None:
            self._writer.add_scalar("train/accuracy", done.accuracy, done.step)
        passed = done.seconds - self._seconds
        if passed > 0:
            speed = done.examples / passed
            self._writer.add_scalar("train/examples_per_second", speed, done.step)
        self._step, self._seconds = done.step, done.seconds
