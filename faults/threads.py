"""A contract's nodes as threads of this process, over the plaintext transport: real sockets and files."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from coterie.errors import CoterieError
from coterie.nodes.options import NodeOptions
from coterie.nodes.process import run_node
from coterie.plaintext.fabric import PlaintextFabric
from coterie.runs.events import Event, EventSink
from faults.loopback import free_addresses
from faults.nodes import CaseFailed, listening_nodes
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
        if not self.ended.wait(PATIENCE):
            raise CaseFailed(f"{self.name} does not end: {self.heard[-3:]}")

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
            if len(self._of(kind)) < count:
                raise CaseFailed(f"{self.name} does not tell {kind.__name__}: {self.heard[-3:]}")
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
        self._ends: queue.SimpleQueue[Told] = queue.SimpleQueue()
        names = listening_nodes(scene.contract)
        self._addresses = dict(zip(names, free_addresses(len(names)), strict=True))

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
            if thread.is_alive():
                raise CaseFailed("a node does not end")

    def home(self, name: str) -> Path:
        """A node's own folder."""
        return self._folder / name

    def start(self, name: str, home: Path | None = None, also: EventSink = lambda _: None) -> Told:
        """Starts a node.

        Args:
            name: Of the node.
            home: Its folder, instead of its own: of a second one, which nobody dials.
            also: Hears its events, too, on the node's threads.
        """
        told = Told(name)

        def hear(event: Event) -> None:
            told.hear(event)
            also(event)

        listen = self._addresses.get(name, "") if home is None else ""
        arguments = (told, hear, home or self.home(name), listen)
        thread = threading.Thread(target=self._run, args=arguments)
        thread.start()
        self._threads.append(thread)
        return told

    def next_end(self) -> Told:
        """Waits until another node has ended."""
        try:
            return self._ends.get(timeout=PATIENCE)
        except queue.Empty:
            raise CaseFailed("no node ends") from None

    def _run(self, told: Told, hear: Callable[[Event], None], home: Path, listen: str) -> None:
        contract = self.scene.contract
        node = contract.node(told.name)
        try:
            run_node(
                contract,
                node,
                NodeOptions(
                    data=self.scene.data / node.party if node in contract.data_owners() else None,
                    out=home,
                ),
                lambda on_event, incarnation: PlaintextFabric(
                    contract,
                    node,
                    listen=listen or "127.0.0.1:0",
                    addresses={n: at for n, at in self._addresses.items() if n != node.name},
                    incarnation=incarnation,
                    on_event=on_event,
                ),
                "PLAINTEXT",
                on_event=hear,
            )
        except CoterieError as error:
            told.error = error
        except BaseException as error:
            told.error = error
            raise
        finally:
            told.ended.set()
            self._ends.put(told)
            with told.changed:
                told.changed.notify_all()
