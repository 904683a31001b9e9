"""A contract's nodes as threads of the test, over the plaintext transport: real sockets, files and faults."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from coterie.errors import CoterieError
from coterie.nodes.process import find_node, run_node
from coterie.plaintext.fabric import PlaintextFabric
from coterie.ps import events
from coterie.ps.events import Event, EventSink
from faults.scene import Scene

Kind = TypeVar("Kind", bound=Event)
PATIENCE = 120.0


@dataclass
class Told:
    """What a node said, in order, and how it ended."""

    name: str
    heard: list[Event] = field(default_factory=list)
    error: BaseException | None = None
    changed: threading.Condition = field(default_factory=threading.Condition)
    ended: threading.Event = field(default_factory=threading.Event)

    def hear(self, event: Event) -> None:
        """Notes an event."""
        with self.changed:
            self.heard.append(event)
            self.changed.notify_all()

    def wait_for_the_end(self) -> None:
        """Waits until the node has ended."""
        assert self.ended.wait(PATIENCE), f"{self.name} does not end: {self.heard[-3:]}"

    def of(self, kind: type[Kind]) -> list[Kind]:
        """The events of one kind."""
        with self.changed:
            return self._of(kind)

    def _of(self, kind: type[Kind]) -> list[Kind]:
        return [event for event in self.heard if isinstance(event, kind)]

    def wait(self, kind: type[Kind], count: int = 1) -> list[Kind]:
        """Waits until so many events of a kind have come."""
        with self.changed:
            self.changed.wait_for(
                lambda: self.ended.is_set() or len(self._of(kind)) >= count, PATIENCE
            )
            assert len(self._of(kind)) >= count, f"{self.name}: {self.heard[-3:]}"
        return self.of(kind)


class Nodes:
    """Starts nodes, each with a folder of its own, and waits for them at the end.

    Args:
        scene: Contract and data.
        folder: Holds the nodes' folders.
    """

    def __init__(self, scene: Scene, folder: Path) -> None:
        self.scene = scene
        self._folder = folder
        self._threads: list[threading.Thread] = []
        self.address = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "a node does not end"

    def home(self, name: str) -> Path:
        """A node's own folder."""
        return self._folder / name

    def start(self, name: str, home: Path | None = None, also: EventSink = lambda _: None) -> Told:
        """Starts a node; the parameter server first: the others dial it.

        Args:
            name: Of the node.
            home: Its folder, instead of its own.
            also: Hears its events, too, on the node's threads.
        """
        told = Told(name)

        def hear(event: Event) -> None:
            told.hear(event)
            also(event)

        thread = threading.Thread(target=self._run, args=(told, hear, home or self.home(name)))
        thread.start()
        self._threads.append(thread)
        if name.startswith("ps") and home is None:
            self.address = told.wait(events.Listening)[0].address
        return told

    def _run(self, told: Told, hear: Callable[[Event], None], home: Path) -> None:
        contract = self.scene.contract
        node = find_node(contract, told.name)
        servers = [server.name for server in contract.by_role("ps")]
        try:
            run_node(
                contract,
                node,
                lambda on_event, incarnation: PlaintextFabric(
                    contract,
                    node,
                    listen="127.0.0.1:0",
                    addresses=dict.fromkeys(servers, self.address) if self.address else {},
                    incarnation=incarnation,
                    on_event=on_event,
                ),
                "PLAINTEXT",
                data=self.scene.data / node.party if node in contract.data_owners() else None,
                out=home,
                on_event=hear,
            )
        except CoterieError as error:
            told.error = error
        finally:
            told.ended.set()
            with told.changed:
                told.changed.notify_all()
