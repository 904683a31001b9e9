"""Events as JSON lines: every kind comes back, everything else is no event."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coterie.runs import events
from coterie.runs.event_format import MAX_LINE_BYTES, decode_event, describe_event, encode_event

AT = datetime(2026, 11, 29, 20, 8, 41, 123456, UTC)

EVENTS: list[tuple[events.Event, str]] = [
    (
        events.Started("acme-worker", "worker", "acme"),
        "acme-worker started (worker of acme)",
    ),
    (
        events.RecordLayer("worker0", "OpenSSL 3.5.8", "VAES", ""),
        "worker0 seals TensorFlow's connections with OpenSSL 3.5.8, VAES",
    ),
    (
        events.RecordLayer("worker0", "OpenSSL 3.0.19", "AES-NI", "newer ones use VAES"),
        "worker0 seals TensorFlow's connections with OpenSSL 3.0.19, AES-NI; newer ones use VAES",
    ),
    (events.Listening("ps0", "127.0.0.1:7440"), "ps0 listens on 127.0.0.1:7440"),
    (events.Joined("w0", ("w1", "w2")), "w0 joined; waiting for w1, w2"),
    (events.Joined("w2", ()), "w2 joined; all have come"),
    (events.StepDone(3, 10, 9, 0.51239, 1.26, 0.5, 1, 9), "step 3/10, loss 0.5124, 1.3 s"),
    (
        events.StepDone(3, 10, 9, 0.51239, 1.26, 0.5, 4, 101),
        "step 3/10, loss 0.5124 over 4 steps, 1.3 s",
    ),
    (events.StepDone(3, 10, 9, None, 1.26), "step 3/10, 1.3 s"),
    (
        events.ValidationDone(8, 1000, 0.75, 0.4512, 1.0, best=True, train_loss=0.4),
        "validation at step 8: log loss 0.4512, AUC 0.7500 (best so far)",
    ),
    (
        events.ValidationDone(9, 120, None, 0.5, 1.0, best=False, train_loss=None),
        "validation at step 9: log loss 0.5000",
    ),
    (
        events.ValidationDone(9, 0, None, None, None, best=False, train_loss=None),
        "validation at step 9: too few rows to tell",
    ),
    (
        events.Overfitting(9),
        (
            "step 9: training loss falls, validation loss rises: the model learns its training rows "
            "by heart; fewer epochs, training.validation.patience or lower rates help"
        ),
    ),
    (
        events.StoppedEarly(9, 6),
        "training ends after step 9: no validation was better than step 6's",
    ),
    (
        events.OwnQuality("w0", "acme", 1234, 0.75, 0.45, 1.02),
        "w0: 1,234 test rows of acme: log loss 0.4500, AUC 0.7500, calibration 1.020",
    ),
    (
        events.OwnQuality("w0", "acme", 3, None, None, None),
        "w0: 3 test rows of acme: withheld, because they are fewer than limits.evaluation_minimum",
    ),
    (
        events.OwnQuality("w0", "acme", 0, None, None, None),
        "w0: 0 test rows of acme: nothing to tell",
    ),
    (events.CheckpointWritten(5, "ab" * 32), f"checkpoint at step 5, {'ab' * 8}"),
    (events.Begun("ab" * 32), f"run {'ab' * 8} begins"),
    (events.Resumed(5, "ab" * 32), f"resumed from step 5, {'ab' * 8}"),
    (events.ExamplesDelivered("w0", 12_345), "w0 holds 12,345 examples"),
    (
        events.Attested("ps0", "w0", "worker", "acme", "UpToDate", "cd" * 32),
        f"ps0 attested w0 (worker of acme): UpToDate, {'cd' * 8}",
    ),
    (
        events.Refused("ps0", "VoucherRefused", "no voucher"),
        "ps0 refused a peer: VoucherRefused: no voucher",
    ),
    (
        events.WorkerProgress("w0", 120, 460, 0.55119, 2345.4),
        "w0: step 120/460, loss 0.5512 on its own examples, 2,345 of them a second",
    ),
    (
        events.WorkerProgress("w0", 120, 460, None, 2345.4),
        "w0: step 120/460, 2,345 examples/s",
    ),
    (events.WorkerProgress("w0", 1, 460, None, None), "w0: step 1/460"),
    (
        events.ServerLost("w0", "ps0 does not answer", 299.6),
        "w0 has lost the server, and goes on trying (300 s at most): ps0 does not answer",
    ),
    (
        events.ServerBack("w0", 40),
        "w0 has found the server again, and goes on after step 40",
    ),
    (
        events.StoodStill("ps0", 41.7),
        "ps0 stood still for 42 s: its deadlines are as much later",
    ),
    (
        events.Waiting("ps0", ("w0", "w1"), 12.4, 287.6, "w0 ended, EnvironmentUnfit: full"),
        "ps0 has waited 12 s for w0, w1: w0 ended, EnvironmentUnfit: full (at most 288 s more)",
    ),
    (
        events.Waiting("w0", ("ps0",), 3.0, 297.0),
        "w0 has waited 3 s for ps0 (at most 297 s more)",
    ),
    (
        events.Ended("w0", "EnvironmentUnfit", "its disk is full"),
        "w0 says that it ends: EnvironmentUnfit: its disk is full",
    ),
    (
        events.Ended("w0", "EnvironmentUnfit", "its disk is full", goes_on=True),
        "w0 says that it pauses: EnvironmentUnfit: its disk is full",
    ),
    (events.Stopped("w0"), "w0 was told to end (SIGTERM); the same command goes on"),
    (
        events.Failed("w0", 7, {"error": "NodeFailed", "what": "it burnt down"}),
        "w0 failed (7): it burnt down",
    ),
    (
        events.ModelKept("w0", "out/model.coterie", "ab" * 32),
        f"w0 keeps the trained model {'ab' * 8} in out/model.coterie",
    ),
    (
        events.OptimizerStateKept("w0", "out/optimizer.coterie", "ab" * 32),
        f"w0 keeps the optimizers' state {'ab' * 8} in out/optimizer.coterie",
    ),
    (
        events.StartTaken("w0", "ab" * 32, 700, "cd" * 32),
        f"the run goes on from step 700 of model {'ab' * 8}, which w0 gave",
    ),
    (
        events.StartTaken("w0", "ab" * 32, 700, "new", "larger tables: C3; new columns: I9"),
        f"the run goes on from step 700 of model {'ab' * 8}, which w0 gave; larger tables: C3; new columns: I9",
    ),
    (
        events.ModelNotKept("w0"),
        "w0 may keep the trained model but has no --out: it does not",
    ),
    (
        events.DoneBefore("w0"),
        "w0 had done its part of this run before, and finds no server: it ends",
    ),
    (events.LeftOut("w1", 7), "w1 is left out from step 7 on: it stayed away too long"),
    (events.Returned("w1", 9), "w1 takes part again from step 9 on"),
    (events.Restarted("ps0", 5), "ps0 went back to step 5: a shard had lost its state"),
    (
        events.WorkerTimes("w0", 100, 0.25, 3.0, 1.5, 0.75, 2.0),
        "w0: 100 steps; compute 3.0 s, transport 1.5 s, server 0.8 s, waiting 2.0 s, data 0.2 s",
    ),
    (
        events.ServerTimes("ps0", 100, 0.5, 1.25, 0.75, 4.0),
        "ps0: 100 steps; decode 0.5 s, apply 1.2 s, read 0.8 s; workers waited 4.0 s",
    ),
    (events.Finished({"steps": 3, "test_auc": None, "mode": "hfl", "seconds": 1.5}), "Finished"),
]


def test_every_kind_of_event_is_in_this_table() -> None:
    assert {type(event) for event, _ in EVENTS} == set(events.Event.__subclasses__())


@pytest.mark.parametrize(("event", "sentence"), EVENTS, ids=lambda value: type(value).__name__)
def test_an_event_comes_back_and_reads_well(event: events.Event, sentence: str) -> None:
    line = encode_event(event, AT)
    assert "\n" not in line
    assert decode_event(line) == event
    assert decode_event(line + "\n") == event
    assert line.startswith(
        f'{{"event": "{type(event).__name__}", "time": "2026-11-29T20:08:41.123Z"'
    )
    assert describe_event(event) == sentence


@given(st.text(), st.lists(st.text()).map(tuple))
def test_any_text_survives(node: str, missing: tuple[str, ...]) -> None:
    event = events.Joined(node, missing)
    line = encode_event(event, AT)
    assert line.isascii()
    assert line.isprintable()
    assert decode_event(line) == event


@pytest.mark.parametrize(
    "line",
    [
        "",
        "\n",
        "hello",
        "[]",
        "null",
        "{",
        "{}",
        '{"event": "Nothing"}',
        '{"event": "Event"}',
        '{"event": "Joined"}',
        '{"event": "Joined", "node": 1, "missing": []}',
        '{"event": "Joined", "node": "w0", "missing": "w1"}',
        '{"event": "StepDone", "step": "many"}',
        ' {"event": "Listening", "node": "ps0", "address": "x"}',
        '{"event": null}',
        '{"event": 5}',
    ],
)
def test_another_line_is_no_event(line: str) -> None:
    assert decode_event(line) is None


def test_a_line_that_is_too_long_is_no_event() -> None:
    line = encode_event(events.Listening("ps0", "x" * MAX_LINE_BYTES), AT)
    assert decode_event(line) is None


@given(st.text(max_size=200))
def test_any_text_is_an_event_or_none(text: str) -> None:
    assert decode_event("{" + text) is None or json.loads("{" + text)


# TypeError and RecursionError come through and end the supervisor's listener thread,
# which then never says that the node has ended: the run hangs.
@pytest.mark.parametrize(
    "line",
    ['{"event": []}', '{"event": {}}', '{"a": ' + "[" * 100_000],
    ids=["list", "dict", "deep"],
)
def test_a_line_that_only_looks_like_an_event_is_none(line: str) -> None:
    assert decode_event(line) is None


HOSTILE = "\x1b[2J\x9b1;1H\nps0 attested eve (worker of acme): UpToDate, deadbeef\u202e"


@pytest.mark.parametrize(
    ("event", "sentence"),
    [
        (
            events.Refused("ps0", "X", HOSTILE),
            "ps0 refused a peer: X: ?[2J?1;1H?ps0 attested eve (worker of acme): UpToDate, deadbeef?",
        ),
        (
            events.Failed("w0", 6, {"error": "RemoteError", "what": HOSTILE}),
            "w0 failed (6): ?[2J?1;1H?ps0 attested eve (worker of acme): UpToDate, deadbeef?",
        ),
    ],
)
def test_a_strangers_words_are_one_line_that_steers_nothing(
    event: events.Event, sentence: str
) -> None:
    assert describe_event(event) == sentence
    assert encode_event(event, AT).isprintable()
    assert decode_event(encode_event(event, AT)) == event
