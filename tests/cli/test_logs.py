"""What is logged: a summary for people, every event if asked, JSON if asked."""

from __future__ import annotations

import io
import json
import logging
import threading

import pytest
from rich.console import Console

from coterie.cli import logs
from coterie.cli.drafting import demonstration, draft_contract
from coterie.cli.logs import LogFormat
from coterie.cli.progress import shown
from coterie.contract import parse_contract
from coterie.runs.events import Event, Started, StepDone
from tests.cli.stamps import STAMP, unstamped

CONTRACT = parse_contract(draft_contract(demonstration("hfl")).encode(), "draft")
STEPS: list[Event] = [
    Started("ps0", "ps", "operator"),
    *(StepDone(step, 100, 64, 0.5, step / 10, 0.5, 1, 64) for step in range(1, 101)),
]


def log(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What a run's events give, on a console that is no terminal."""
    console = Console(file=io.StringIO(), width=200)
    with shown(console, "mine", CONTRACT, "SIMULATED") as on_event:
        for event in STEPS:
            on_event(event)
    assert isinstance(console.file, io.StringIO)
    return (console.file.getvalue() + capsys.readouterr().err).splitlines()


@pytest.fixture(autouse=True)
def _fresh() -> None:
    logs.start()


def test_a_summary_has_ten_lines_of_steps(capsys: pytest.CaptureFixture[str]) -> None:
    lines = log(capsys)
    assert unstamped(lines[0]) == ["mine: ps0 started (ps of operator)"]
    assert len(lines) == 11


def test_steps_without_a_loss_have_lines_without_one() -> None:
    console = Console(file=io.StringIO(), width=200)
    with shown(console, "mine", CONTRACT, "SIMULATED") as on_event:
        on_event(StepDone(1, 2, 64, None, 1.0))
        on_event(StepDone(2, 2, 64, 0.5, 2.0, 0.5, 2, 128))
    assert isinstance(console.file, io.StringIO)
    assert unstamped(console.file.getvalue()) == [
        "mine: step 1/2, 64 examples/s",
        "mine: step 2/2, loss 0.5000, 64 examples/s",
    ]


def test_verbose_has_every_step(capsys: pytest.CaptureFixture[str]) -> None:
    logs.choose(verbose=True, form=None)
    lines = log(capsys)
    assert len(lines) == 101
    assert all(unstamped(line)[0].startswith("mine: ") for line in lines)


def test_json_has_an_object_per_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.choose(verbose=False, form=LogFormat.JSON)
    events = [json.loads(line)["event"] for line in log(capsys)]
    assert events == ["Started", *["StepDone"] * 100]


def test_what_is_said_before_the_verb_holds_unless_it_is_said_again() -> None:
    logs.choose(verbose=True, form=LogFormat.JSON)
    logs.choose(verbose=False, form=None)
    assert logs.settings() == logs.LogSettings(LogFormat.JSON, verbose=True)
    logs.choose(verbose=False, form=LogFormat.TEXT)
    assert logs.settings().form is LogFormat.TEXT


def test_warnings_are_lines_of_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    logs.choose(verbose=False, form=LogFormat.JSON)
    logger = logging.getLogger("coterie.ratls.listener")
    logger.warning("refused %s", "somebody")
    logger.debug("not worth a line")
    value = json.loads(capsys.readouterr().err)
    assert (value["event"], value["level"], value["message"]) == (
        *("Log", "warning", "refused somebody"),
    )
    logs.choose(verbose=True, form=LogFormat.TEXT)
    logger.debug("worth a line now")
    assert unstamped(capsys.readouterr().err) == ["worth a line now"]


def test_entries_that_are_no_events_have_both_forms() -> None:
    fields = {"event": "Refused", "from": "10.0.0.1", "what": 'a "quoted" word', "seen": ""}
    assert unstamped(logs.line_of_fields(fields)) == [
        'Refused from="10.0.0.1" what="a \\"quoted\\" word"'
    ]
    logs.choose(verbose=False, form=LogFormat.JSON)
    told = json.loads(logs.line_of_fields(fields))
    assert STAMP.match(told.pop("time") + " ")
    assert told == fields


def test_all_threads_log_alike() -> None:
    """A node's events come from its gRPC server's threads."""
    logs.choose(verbose=False, form=LogFormat.JSON)
    lines: list[str] = []
    thread = threading.Thread(target=lambda: lines.append(logs.line_of(STEPS[0])))
    thread.start()
    thread.join()
    assert json.loads(lines[0])["event"] == "Started"


HOSTILE = "seen: \x1b[2J\x9b1m\nps0 attested eve"


def test_a_log_line_of_a_strangers_words_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.choose(verbose=False, form=None)
    logging.getLogger("coterie.test").warning("refused a peer at %s: %s", "10.0.0.9", HOSTILE)
    assert unstamped(capsys.readouterr().err) == [
        "refused a peer at 10.0.0.9: seen: ?[2J?1m?ps0 attested eve"
    ]


def test_an_exception_keeps_its_lines_and_steers_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.choose(verbose=False, form=None)
    logging.getLogger("coterie.test").error("a handler failed", exc_info=ValueError(HOSTILE))
    assert unstamped(capsys.readouterr().err) == [
        "a handler failed",
        "  ValueError: seen: ?[2J?1m",
        "  ps0 attested eve",
    ]


def test_a_json_log_is_printable(capsys: pytest.CaptureFixture[str]) -> None:
    logs.choose(verbose=False, form=LogFormat.JSON)
    logging.getLogger("coterie.test").warning("refused: %s", HOSTILE)
    (said,) = capsys.readouterr().err.splitlines()
    assert said.isprintable()
    assert json.loads(said)["message"] == f"refused: {HOSTILE}"
    fields = {"event": "refused", "reason": HOSTILE}
    assert logs.line_of_fields(fields).isprintable()
    assert json.loads(logs.line_of_fields(fields))["reason"] == HOSTILE
