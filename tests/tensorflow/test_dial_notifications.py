"""The bell that the native part rings: numbers come whole and in order, however the bytes arrive."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Iterator

import pytest

from coterie.tensorflow.dial_notifications import DialNotifications


@pytest.fixture
def bell() -> Iterator[DialNotifications]:
    made = DialNotifications()
    yield made
    made.close()


def test_it_is_of_the_only_kind_that_the_library_os_has(bell: DialNotifications) -> None:
    with socket.socket(fileno=os.dup(bell.rope)) as rope:
        assert (rope.family, rope.type) == (socket.AF_UNIX, socket.SOCK_STREAM)


def test_nothing_is_heard_before_it_rings(bell: DialNotifications) -> None:
    assert bell.heard() == []
    assert not select.select([bell], [], [], 0)[0]


def test_every_dial_is_heard_once_and_in_order(bell: DialNotifications) -> None:
    for number in (1, 0x0203, 1024):
        os.write(bell.rope, number.to_bytes(2, "big"))
    assert select.select([bell], [], [], 0)[0]
    assert bell.heard() == [1, 0x0203, 1024]
    assert bell.heard() == []


def test_a_number_that_comes_in_two_parts_is_heard_when_it_is_whole(
    bell: DialNotifications,
) -> None:
    os.write(bell.rope, b"\0\7\1")
    assert bell.heard() == [7]
    os.write(bell.rope, b"\2")
    assert bell.heard() == [0x0102]
