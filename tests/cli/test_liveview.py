"""The live view on a real pseudo-terminal, as a terminal emulator shows it."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import termios
from datetime import UTC, datetime
from pathlib import Path

import pyte
import pytest

from coterie.contract import Contract
from coterie.runs import events
from coterie.runs.event_format import encode_event
from tests.cli.stamps import unstamped
from tests.conftest import REPOSITORY
from tests.report.runs import HFL, MEASUREMENT, attestations, steps

pytestmark = pytest.mark.system


# Shows the events that come on standard input; a line that holds none ends the program.
PROGRAM = """
import sys
from pathlib import Path
from rich.console import Console
from coterie.cli.progress import shown
from coterie.contract import load_contract
from coterie.runs.event_format import decode_event
contract = load_contract(Path(sys.argv[1]))
with shown(Console(stderr=True), contract.name, contract, sys.argv[2]) as sink:
    for line in sys.stdin:
        event = decode_event(line.rstrip("\\n"))
        if event is None:
            break
        sink(event)
print("over", file=sys.stderr, flush=True)
"""
AT = datetime(2026, 11, 29, 20, 8, 41, 123456, UTC)
FINISHED = events.Finished({"validation_auc": 0.71234, "test_auc": 0.70001})


def contract_file(folder: Path, workers: int = 0) -> Path:
    """The example, with more companies where asked for."""
    text = (REPOSITORY / "examples" / "hfl.toml").read_text()
    for i in range(workers):
        text = text.replace(
            "[data]",
            f'[[parties]]\nname = "party-{i}"\n\n[[nodes]]\nname = "worker-{i}"\nrole = "worker"\n'
            f'party = "party-{i}"\n\n[data]',
            1,
        )
    path = folder / "contract.toml"
    path.write_text(text)
    return path


def screen_after(
    contract: Path,
    heard: list[events.Event],
    *,
    stamp: str = "SIMULATED",
    columns: int = 80,
    lines: int = 24,
) -> list[str]:
    """What an emulated terminal of that size shows once the program has ended."""
    lead, follower = pty.openpty()
    termios.tcsetwinsize(follower, (lines, columns))
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(contract), stamp],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=follower,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "", "LINES": ""},
    ) as process:
        os.close(follower)
        assert process.stdin is not None
        for event in heard:
            process.stdin.write(encode_event(event, AT).encode() + b"\n")
        process.stdin.close()
        screen = pyte.Screen(columns, lines)
        stream = pyte.ByteStream(screen)
        while True:
            try:
                octets = os.read(lead, 65536)
            except OSError:  # the other end is closed
                break
            if not octets:
                break
            stream.feed(octets)
    os.close(lead)
    assert process.returncode == 0
    shown = [line.rstrip() for line in screen.display]
    assert shown[screen.cursor.y - 1] == "over"
    return shown[: screen.cursor.y - 1]


def gathering(contract: Contract = HFL) -> list[events.Event]:
    nodes = [node for node in contract.nodes if node.role == "worker"]
    return [
        *(events.Started(n.name, n.role, n.party) for n in contract.nodes),
        events.Listening("ps0", "127.0.0.1:7440"),
        *attestations(contract),
        *(events.Attested(n.name, "ps0", "ps", "operator", "UpToDate", MEASUREMENT) for n in nodes),
        *(events.Joined(n.name, ()) for n in nodes),
    ]


def test_a_run_in_full_on_80_by_24(tmp_path: Path) -> None:
    screen = screen_after(contract_file(tmp_path), [*gathering(), *steps()[:20]])
    assert screen[0] == "hfl-example  SIMULATED"
    assert screen[1].split() == ["node", "role", "party", "state", "attestation"]
    assert screen[2].split()[:4] == ["ps0", "ps", "operator", "training"]
    assert screen[2].endswith("UpToDate abababab by 4")
    assert [line.split()[0] for line in screen[3:7]] == [
        f"{party}-worker" for party in ("acme", "bolt", "corn", "dune")
    ]
    assert all(line.split()[3:] == ["training", "UpToDate", "abababab"] for line in screen[3:7])
    assert screen[7].startswith("loss 0.64")
    assert "accuracy 72.1%" in screen[7]
    assert "10,240 examples/s" in screen[7]
    assert "step 20/60  0:02 left" in screen[8], "40 steps of 0.05 s: far from any rounding"
    assert screen[9] == "dune-worker joined; all have come"
    assert len(screen) == 10, "one view, drawn over and over at one place"


def test_the_end_of_a_run(tmp_path: Path) -> None:
    times = events.ServerTimes("ps0", 60, 0.1, 0.2, 0.1, 0.4)
    screen = screen_after(contract_file(tmp_path), [*gathering(), *steps(), times, FINISHED])
    assert all("finished" in line for line in screen[2:7])
    assert "AUC 0.7123 validation, 0.7000 test" in screen[7]
    assert "step 60/60  trained" in screen[8]


def test_trouble_stays_above_the_view(tmp_path: Path) -> None:
    trouble = [
        events.Refused("ps0", "EvidenceRefused", "[mrenclave] an enclave of [another] program"),
        events.LeftOut("corn-worker", 12),
    ]
    heard = [*gathering(), *steps()[:12], *trouble, *steps()[12:14]]
    screen = screen_after(contract_file(tmp_path), heard)
    assert screen[0].startswith("ps0 refused a peer: EvidenceRefused: [mrenclave] an enclave of")
    assert "corn-worker is left out from step 12 on: it stayed away too long" in screen
    top = screen.index("hfl-example  SIMULATED")
    assert "1 refused" in screen[top + 2]
    assert "left out" in next(line for line in screen[top:] if line.startswith("corn-worker"))


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (60, 20), (200, 50)])
def test_many_nodes_fit_and_those_in_trouble_are_shown(
    tmp_path: Path, columns: int, lines: int
) -> None:
    contract = contract_file(tmp_path, workers=70)
    heard = [*gathering(), *steps()[:5], events.LeftOut("worker-66", 5), *steps()[5:7]]
    screen = screen_after(contract, heard, columns=columns, lines=lines)
    assert len(screen) < lines
    assert max(len(line) for line in screen) <= columns
    assert any(line.startswith("worker-66") and "left out" in line for line in screen)
    hidden = next(line for line in screen if line.startswith("and "))
    shown = sum(line.split()[1:2] in (["worker"], ["ps"]) for line in screen)
    assert hidden == f"and {75 - shown} more"
    assert any("step 7/60" in line for line in screen)


def test_a_run_in_one_process_has_no_attestation_and_goes_on_where_it_was(tmp_path: Path) -> None:
    """Nothing starts or listens there: who trains is known by the first step."""
    resumed = events.Resumed(12, "ab" * 32)
    joined = [events.Joined(node.name, ()) for node in HFL.by_role("worker")]
    before = screen_after(contract_file(tmp_path), [resumed, resumed], stamp="LOCAL")
    assert [line for line in before if line.startswith("resumed")] == [
        f"resumed from step 12, {'ab' * 8}",
        f"resumed from step 12, {'ab' * 8}",  # above the view, and as the last that happened
    ]
    assert any(line.endswith(" step 12") for line in before)
    screen = screen_after(contract_file(tmp_path), [*joined, *steps(13)[12:]], stamp="LOCAL")
    assert not any("attestation" in line or "not yet" in line for line in screen)
    rows = [line.split() for line in screen if " ps " in line or " worker " in line]
    assert [row[-1] for row in rows] == ["training"] * 5


def test_without_a_terminal_there_are_lines(tmp_path: Path) -> None:
    heard = [*gathering()[-1:], *steps(), FINISHED]
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(contract_file(tmp_path)), "SIMULATED"],
        input="".join(encode_event(event, AT) + "\n" for event in heard).encode(),
        capture_output=True,
        check=True,
    )
    *told, over = process.stderr.decode().splitlines()
    lines = unstamped("\n".join(told))
    assert lines[0] == "hfl-example: dune-worker joined; all have come"
    assert lines[1].startswith("hfl-example: step 6/60, loss ")
    assert lines[10].startswith("hfl-example: step 60/60, loss ")
    assert (len(lines), over) == (11, "over")
    assert b"\x1b" not in process.stderr
