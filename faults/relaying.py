"""A relay as a process, told on standard input what to do: ``cut``, ``stall`` or ``resume``.

``python -m faults.relaying HOST TARGET PORT [PORT ...]``. Says ``ready`` when it listens, and
repeats each command when it is done; ends when its input does.
"""

from __future__ import annotations

import argparse
import sys

from faults.relay import Relay


def main() -> None:
    """Relays until standard input ends."""
    parser = argparse.ArgumentParser(prog="python -m faults.relaying", description=__doc__)
    parser.add_argument("host", help="where to listen")
    parser.add_argument("target", help="where to relay to")
    parser.add_argument("ports", type=int, nargs="+")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds that all is late")
    given = parser.parse_args()
    relay = Relay(
        tuple(given.ports), host=given.host, target=given.target, delay_seconds=given.delay
    )
    commands = {"cut": relay.cut, "stall": relay.stall, "resume": relay.resume}
    try:
        _say("ready")
        for line in sys.stdin:
            commands[line.strip()]()
            _say(line.strip())
    finally:
        relay.close()


def _say(word: str) -> None:
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
