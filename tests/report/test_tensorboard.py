"""Event files are TensorBoard's own: TensorFlow, which wrote none of it, reads them back."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from coterie.errors import EnvironmentUnfit
from coterie.models.backend import configure_tensorflow
from coterie.report.tensorboard import tensorboard_log
from coterie.runs import events
from coterie.runs.result import result_of
from faults.disk import no_room
from tests.report.runs import HFL, STEPS, outcome, steps

pytestmark = pytest.mark.tensorflow


def read(folder: Path) -> dict[str, dict[int, float]]:
    """Every scalar by tag and step, read with TensorFlow."""
    configure_tensorflow(1)  # its settings hold for the whole process: other tests need these
    import tensorflow as tf
    from tensorflow.core.util import event_pb2

    (file,) = folder.glob("events.out.tfevents.*")
    found: dict[str, dict[int, float]] = defaultdict(dict)
    versions = []
    for record in tf.data.TFRecordDataset(str(file)):  # checks the checksums
        event = event_pb2.Event.FromString(record.numpy())
        if event.file_version:
            versions.append(event.file_version)
        for value in event.summary.value:
            found[value.tag][event.step] = value.simple_value
    assert versions == ["brain.Event:2"]
    return found


def test_every_step_and_the_final_metrics_are_there(tmp_path: Path) -> None:
    result = result_of(outcome(HFL), HFL, "ra-tls")
    with tensorboard_log(tmp_path / "run") as log:
        for event in (events.Joined("acme-worker", ()), *steps()):
            log(event)
        log(events.Finished(result.model_dump(mode="json")))
    found = read(tmp_path / "run")
    assert found["train/loss"] == {s: pytest.approx(0.5 + 1 / s) for s in range(1, STEPS + 1)}
    assert found["train/accuracy"] == {
        s: pytest.approx(0.75 - 0.2 / s) for s in range(1, STEPS + 1)
    }
    speeds = found["train/examples_per_second"]
    assert speeds == {s: pytest.approx(512 / 0.05, rel=1e-4) for s in range(2, STEPS + 1)}
    assert found["test/auc"] == {STEPS: pytest.approx(result.test_auc)}
    assert found["validation/final_auc"] == {STEPS: pytest.approx(result.validation_auc)}
    assert found["test/calibration"] == {STEPS: pytest.approx(result.test_calibration)}


def test_what_is_not_defined_is_not_written(tmp_path: Path) -> None:
    with tensorboard_log(tmp_path) as log:
        log(events.StepDone(1, 3, 8, None, 0.5, None))
        log(events.StepDone(2, 3, 8, None, 1.0, None))
        log(events.Finished({"test_auc": None}))
    found = read(tmp_path)
    assert found.keys() == {"train/examples_per_second"}


def test_a_step_is_as_fast_as_it_was_however_long_the_run_took_before(tmp_path: Path) -> None:
    """After a resume the time of what was trained before, or again, is not that of one step."""
    with tensorboard_log(tmp_path) as log:
        for step, seconds in ((11, 60.0), (12, 60.5), (9, 40.0), (10, 41.0)):
            log(events.StepDone(step, 20, 8, None, seconds, None))
    speeds = read(tmp_path)["train/examples_per_second"]
    assert speeds == {12: pytest.approx(16), 10: pytest.approx(8)}


def test_the_file_is_whole_after_a_failed_run(tmp_path: Path) -> None:
    def broken_off() -> None:
        with tensorboard_log(tmp_path) as log:
            log(steps()[0])
            raise RuntimeError("broke off")

    with pytest.raises(RuntimeError, match="broke off"):
        broken_off()
    assert read(tmp_path)["train/loss"].keys() == {1}


def test_a_folder_that_cannot_be_made_is_an_error_before_anything_is_trained(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(EnvironmentUnfit) as error, tensorboard_log(tmp_path / "file" / "board"):
        pass
    assert error.value.what.startswith("TensorBoard's event file in ")
    assert error.value.seen == "Not a directory"


def test_a_disk_that_gets_full_stops_the_file_and_not_the_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with tensorboard_log(tmp_path) as log, no_room(4096):
        for step in range(2000):  # more than any queue holds
            log(events.StepDone(step + 1, 2000, 512, 0.5, 0.1 * step, 0.75))
        log(events.Finished({"test_auc": 0.5}))
    assert capsys.readouterr().err.count("File too large") == 1
