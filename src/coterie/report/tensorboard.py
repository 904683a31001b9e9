"""Writes TensorBoard's event files during a run, without TensorFlow.

tensorboardX, a small package, writes the format (TFRecord frames of Event messages). Its own thread
is not used: it dies when the disk is full, and callers then wait for it for ever.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event as Record
from tensorboardX.summary import scalar

from coterie.files import make_folder, unhindered, writing
from coterie.runs.events import Event, EventSink, Finished, StepDone, ValidationDone

_FLUSH_SECONDS = 10
_FINAL = {
    "train_loss": "train/epoch_loss",
    "validation_auc": "validation/final_auc",
    "test_auc": "test/auc",
    "test_logloss": "test/log_loss",
    "test_accuracy": "test/accuracy",
    "test_calibration": "test/calibration",
    "samples_per_second": "train/mean_examples_per_second",
}


@contextmanager
def tensorboard_log(folder: Path) -> Iterator[EventSink]:
    """A sink that writes an event file into a folder. If writing fails, the run goes on without it.

    Args:
        folder: The folder of one run, in TensorBoard's sense; made if absent.

    Raises:
        EnvironmentUnfit: The folder or the file cannot be made.
    """
    with writing(f"TensorBoard's event file in {folder}"):
        make_folder(folder)
        writer = EventsWriter(str(folder / "events"))
        writer.flush()
    try:
        yield unhindered(_Log(writer), f"TensorBoard's event file in {folder}")
    finally:
        with suppress(OSError):  # a failure to write was reported when it happened
            writer.close()


class _Log:
    def __init__(self, writer: EventsWriter) -> None:
        self._writer = writer
        self._step = 0
        self._seconds: float | None = None
        self._flush_at = time.monotonic() + _FLUSH_SECONDS

    def __call__(self, event: Event) -> None:
        if isinstance(event, StepDone):
            self._hear_step(event)
        elif isinstance(event, ValidationDone):
            for name in ("log_loss", "auc", "calibration"):
                value = getattr(event, name)
                if value is not None:
                    self._add(f"validation/{name}", value, event.step)
        elif isinstance(event, Finished):
            for key, tag in _FINAL.items():
                value = event.result.get(key)
                if isinstance(value, int | float):
                    self._add(tag, value, self._step)
            self._writer.flush()

    def _hear_step(self, done: StepDone) -> None:
        if done.loss is not None:
            self._add("train/loss", done.loss, done.step)
        if done.accuracy is not None:
            self._add("train/accuracy", done.accuracy, done.step)
        # Only between two steps: the first step after a resumption has no duration.
        if self._seconds is not None and done.step == self._step + 1:
            passed = done.seconds - self._seconds
            if passed > 0:
                self._add("train/examples_per_second", done.examples / passed, done.step)
        self._step, self._seconds = done.step, done.seconds
        if time.monotonic() >= self._flush_at:
            self._flush_at = time.monotonic() + _FLUSH_SECONDS
            self._writer.flush()

    def _add(self, tag: str, value: float, step: int) -> None:
        record = Record(summary=scalar(tag, value), step=step, wall_time=time.time())
        self._writer.write_event(record)
