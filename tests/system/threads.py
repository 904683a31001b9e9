"""Nodes and key servers as threads of this process: the same code over the same attested sockets.

For what a test shows of nodes, and not of their processes: those that are killed, get signals or
another environment, or start from an image are processes (``conftest.Node``).
"""

from __future__ import annotations

import argparse
import json
import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from coterie.contract import load_contract
from coterie.contract.signatures import load_party_key
from coterie.errors import CoterieError
from coterie.keys.server.policy import KeyPolicy
from coterie.keys.server.server import KeyServer
from coterie.nodes.options import NodeOptions
from coterie.nodes.starting import start_node
from coterie.runs.event_log import json_line
from coterie.runs.events import Event

_SECONDS_TO_END = 120.0


class ThreadNode:
    """A node that runs in the background, as ``coterie node`` with the same words would.

    Args:
        arguments: Of ``coterie node``; those that tests use.
    """

    def __init__(self, arguments: Sequence[str | Path]) -> None:
        said = _parser().parse_args([str(word) for word in arguments])
        self._events: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._code = 1  # as of a process that ends by a traceback
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(said,), name=said.name)
        self._thread.start()

    def wait_event(self, kind: str) -> dict[str, object]:
        """Takes events until one of this kind comes."""
        while (line := self._events.get()) is not None:
            event = json.loads(line)
            if event["event"] == kind:
                return dict(event)
        pytest.fail(f"the node ended without {kind}: {self._error!r}")

    def finish(self) -> int:
        """Waits for the node's end; returns what would be its process's exit code."""
        self._thread.join(_SECONDS_TO_END)
        assert not self._thread.is_alive(), f"{self._thread.name} goes on"
        return self._code

    def _run(self, said: argparse.Namespace) -> None:
        try:
            start_node(
                load_contract(said.contract),
                said.contract,
                said.name,
                _options(said),
                tell=self._hear,
                on_sigterm=lambda _name, _sink: None,
            )
            self._code = 0
        except CoterieError as error:
            self._code, self._error = error.exit_code, error
        except BaseException as error:  # told by wait_event, or by the exit code
            self._error = error
            raise
        finally:
            self._events.put(None)

    def _hear(self, event: Event) -> None:
        self._events.put(json_line(event))


class ThreadKeyServer:
    """A party's key server in the background."""

    def __init__(self, policy: Path, key: Path, log: Path) -> None:
        self._told: list[dict[str, str]] = []
        server = KeyServer(
            KeyPolicy.read(policy),
            load_party_key(key),
            listen="127.0.0.1:0",
            log=log,
            tell=lambda fields: self._told.append(dict(fields)),
        )
        self._stack = ExitStack()
        self.address = str(self._stack.enter_context(server.serving()))

    def end(self) -> list[dict[str, str]]:
        """Ends it in good order; what it told of requests."""
        self._stack.close()
        return [told for told in self._told if told["event"] != "Listening"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("contract", type=Path)
    parser.add_argument("name")
    for name in ("--data", "--out", "--start"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--listen")
    for name in ("--address", "--party-key", "--key-server"):
        parser.add_argument(name, action="append", default=[])
    return parser


def _options(said: argparse.Namespace) -> NodeOptions:
    keys, servers = dict(_named(said.party_key)), dict(_named(said.key_server))
    own_key = keys.pop("", None)
    return NodeOptions(
        data=said.data,
        out=said.out,
        start=said.start,
        listen=said.listen,
        addresses=dict(_named(said.address)),
        party_key=None if own_key is None else Path(own_key),
        key_server=servers.pop("", None),
        party_keys={party: Path(path) for party, path in keys.items()},
        key_servers=servers,
    )


def _named(values: Sequence[str]) -> Iterator[tuple[str, str]]:
    """``[NAME=]VALUE``: the name is empty where it is the node's own party's."""
    for value in values:
        name, equals, rest = value.partition("=")
        yield (name, rest) if equals else ("", value)
