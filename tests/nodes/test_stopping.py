"""SIGTERM ends a node wherever its main thread is, and what it was doing goes on later."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from coterie.nodes.stopping import EXIT_CODE
from coterie.runs.event_format import decode_event
from coterie.runs.events import Stopped

pytestmark = pytest.mark.system


# Minutes inside of one call into C, which no signal interrupts.
DEEP_IN_C = """
import hashlib, sys
from coterie.runs.event_log import json_line
from coterie.nodes.stopping import end_on_sigterm
end_on_sigterm("w0", lambda event: print(json_line(event), flush=True))
print("ready", flush=True)
hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
"""


def test_it_ends_a_process_that_is_deep_in_foreign_code() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", DEEP_IN_C], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    told, errors = process.communicate(timeout=60)
    assert process.returncode == EXIT_CODE == 143
    assert [decode_event(line) for line in told.splitlines()] == [Stopped("w0")]
    assert errors == ""


def test_the_other_signals_keep_their_meaning() -> None:
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            DEEP_IN_C.replace(
                'hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)', "sys.stdin.read()"
            ),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    told, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert told == ""
    assert "KeyboardInterrupt" in errors
