"""A node whose key server does not answer says so soon, and ever more rarely."""

from __future__ import annotations

import queue
import threading
from dataclasses import replace

import pytest

from coterie.address import Address
from coterie.errors import PeerUnreachable
from tests.keys.server.conftest import Owner


def test_an_absent_key_server_is_told_of(owner: Owner) -> None:
    heard: queue.Queue[tuple[float, float, str]] = queue.Queue()
    told = threading.Event()

    def hear(*said: float | str) -> None:
        heard.put(said)  # type: ignore[arg-type]
        told.set()

    client = replace(
        owner.client(),
        address=Address("127.0.0.1", 1),
        patience_seconds=240.0,
        waiter=told.wait,
        on_wait=hear,
    )
    with pytest.raises(PeerUnreachable):
        client.vouch(owner.identity())
    waited, left, why = heard.get_nowait()
    assert why == "the key server of acme does not answer at 127.0.0.1:1: Connection refused"
    assert waited + left == pytest.approx(240.0)
