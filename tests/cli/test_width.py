"""Nothing essential is cut at 80 columns, and what is piped is not wrapped at all."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from rich.table import Table
from rich.text import Text

from coterie.cli import console, demo
from coterie.cli.console import Screen
from coterie.cli.status import peers_table, states_of
from coterie.contract import Contract
from coterie.ps.progress import Progress
from coterie.runs.result import result_of
from coterie.status.messages import SeenPeer, SeenRun
from tests.report.runs import HFL, MEASUREMENT, comparison, outcome

WORDS = " ".join(f"word{i}" for i in range(60))
Printed = Callable[..., str]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> Printed:
    """What a function prints, on a terminal of a width, or into a pipe."""

    def run(function: Callable[[], None], columns: int | None) -> str:
        monkeypatch.setenv("COLUMNS", str(columns or 40))  # a shell's, which a pipe does not have
        monkeypatch.setenv("NO_COLOR", "1")
        file = Terminal() if columns else io.StringIO()
        monkeypatch.setattr(console, "out", Screen(file=file))
        function()
        return Text.from_ansi(file.getvalue()).plain

    return run


def result() -> None:
    console.print_result(result_of(outcome(HFL), HFL, "ra-tls"), "hfl")


def overview() -> Progress:
    return Progress("training", 1, 3, 9, ("acme-worker",), (), ("bolt-worker",), (), None)


def peers(until: int = 1_795_984_500) -> None:
    seen = [
        SeenPeer(
            node="acme-worker",
            incarnation=1,
            tcb_status="UpToDate",
            measurement=MEASUREMENT,
            attested_at=1_795_983_000,
            until=until,
        )
    ]
    console.print_table(peers_table(HFL, "ps0", states_of(SeenRun.of(overview())), seen))


@pytest.mark.parametrize("columns", [80, 81, 100, None])
def test_a_result_keeps_its_digests_whole(columns: int | None, printed: Printed) -> None:
    text = printed(result, columns)
    digest = bytes(range(32)).hex()
    assert sum(digest in line for line in text.splitlines()) == 1
    assert max(map(len, text.splitlines())) <= (columns or 200)
    for said in ("training time, s", "51,429", "0.5607"):
        assert said in text


@pytest.mark.parametrize("columns", [40, 80, None])
def test_peers_keep_their_times(columns: int | None, printed: Printed) -> None:
    attested = datetime.fromtimestamp(1_795_983_000, UTC)
    for until, shown in ((1_795_984_500, "%H:%M"), (1_796_083_000, "%Y-%m-%d %H:%M")):
        text = printed(lambda until=until: peers(until), columns)
        assert f"{attested:%Y-%m-%d %H:%M}" in text
        assert f" {datetime.fromtimestamp(until, UTC):{shown}}" in text
        assert MEASUREMENT[:16] in text
        assert "…" not in text
        assert max(map(len, text.splitlines())) <= (columns or 200)


def test_a_row_of_peers_is_a_line_of_80_columns(printed: Printed) -> None:
    assert len(printed(peers, 80).splitlines()) == len(HFL.nodes)


def test_a_pipe_has_no_edge_whatever_the_shell_says(
    printed: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def say() -> None:
        console.out.print(WORDS)
        table = Table("words")
        table.add_row(WORDS)
        console.print_table(table)

    monkeypatch.setenv("FORCE_COLOR", "1")  # as build servers set it: it makes no terminal
    text = printed(say, None)
    assert text.count(WORDS) == 2
    assert printed(say, 80).count(WORDS) == 1  # the table's, which is a line of its own then


def test_a_table_that_does_not_fit_becomes_lines(printed: Printed) -> None:
    table = Table("node", "digest", "note")
    table.add_row("ps0", "[bold]ab[/]", "")
    table.add_row("w0", "c" * 60, "d" * 60)
    text = printed(lambda: console.print_table(table), 80)
    assert text.splitlines() == [
        *("ps0", "  digest: ab"),
        *("w0", f"  digest: {'c' * 60}", f"  note: {'d' * 60}"),
    ]


def test_nothing_is_worth_minus_nothing(printed: Printed) -> None:
    found = comparison()
    models = (*found.models[:1], found.models[1].model_copy(update={"gain": -1e-6}))
    table = demo.worth_table(found.model_copy(update={"models": models}))
    text = printed(lambda: console.print_table(table), None)
    assert "+0.0000 ±" in text
    assert "-0.0000" not in text


def test_both_demo_tables_fit_80_columns(printed: Printed) -> None:
    one = result_of(outcome(HFL), HFL, "ra-tls")
    contract: Contract = HFL
    for table in (demo.summary_table(contract, one, contract, one), demo.worth_table(comparison())):
        text = printed(lambda table=table: console.print_table(table), 80)
        assert "┃" in text
        assert max(map(len, text.splitlines())) <= 80
