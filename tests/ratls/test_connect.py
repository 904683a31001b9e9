"""Who dials in vain is told of it soon: what is tried, what failed, and for how much longer."""

from __future__ import annotations

import queue
import socket
import threading

import pytest

from coterie.errors import CoterieError, PeerUnreachable
from coterie.ratls.transport import AttestedChannel
from coterie.waiting import FIRST_OF_DIALLING_SECONDS
from tests.ratls.conftest import World
from tests.ratls.net import LIMIT

SECONDS = 240.0


class Dialling:
    """A channel that is being made, on a thread of its own."""

    def __init__(self, address: str) -> None:
        self.heard: queue.Queue[tuple[float, float, str]] = queue.Queue()
        self.ended = threading.Event()
        self.error: CoterieError | None = None
        trust = World().trust("acme-worker")

        def dial() -> None:
            try:
                AttestedChannel(
                    trust, address, "ps0", LIMIT,
                    patience_seconds=SECONDS,
                    waiter=self.ended.wait,
                    on_wait=lambda *said: self.heard.put(said),
                )  # fmt: skip
            except CoterieError as error:
                self.error = error

        self.thread = threading.Thread(target=dial)
        self.thread.start()

    def end(self) -> None:
        self.ended.set()
        self.thread.join()


@pytest.mark.parametrize(
    ("address", "failed"),
    [("127.0.0.1:1", "Connection refused"), ("no.such.host.invalid:7440", "Name or service")],
)
def test_what_fails_at_once_is_told_with_the_reason(address: str, failed: str) -> None:
    dialling = Dialling(address)
    waited, left, why = dialling.heard.get()
    dialling.end()
    assert f"ps0 does not answer at {address}" in why
    assert failed in why
    assert waited >= FIRST_OF_DIALLING_SECONDS
    assert waited + left == pytest.approx(SECONDS)
    assert isinstance(dialling.error, PeerUnreachable)


def test_what_does_not_even_refuse_is_told_as_soon() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        dialling = Dialling(address)
        assert dialling.heard.get()[2] == f"ps0 has not answered yet at {address}"
    dialling.end()
    assert isinstance(dialling.error, CoterieError)
