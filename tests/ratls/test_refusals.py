"""What is told of refusals is little, whatever strangers do; what is counted is all of it."""

from __future__ import annotations

from collections import Counter

import pytest

from coterie.errors import (
    CallRefused,
    CoterieError,
    EvidenceRefused,
    HandshakeFailed,
    PeerUnreachable,
)
from coterie.ratls.refusals import ELSEWHERE, HOUR_SECONDS, MOST_KEPT, Tally, log_refusal, origin

FAILED = HandshakeFailed("TLS failed")


class Told:
    """What is told, and a clock that a test turns."""

    def __init__(self) -> None:
        self.now = 0.0
        self.lines: list[tuple[str, str, int]] = []
        self.tally = Tally(self.take, monotonic=lambda: self.now)

    def take(self, address: str, error: CoterieError, count: int) -> None:
        self.lines.append((address, type(error).__name__, count))

    @property
    def counted(self) -> int:
        return sum(count for _, _, count in self.lines)


def test_the_first_is_told_at_once_and_then_ever_fewer() -> None:
    told = Told()
    for _ in range(100_000):
        told.tally.note("10.0.0.7", FAILED)
    assert [count for _, _, count in told.lines] == [1, 9, 90, 900, 9_000, 90_000]
    assert set(told.lines) == {("10.0.0.7", "HandshakeFailed", count) for _, _, count in told.lines}


def test_another_address_or_reason_is_told_at_once() -> None:
    told = Told()
    for _ in range(5):
        told.tally.note("10.0.0.7", FAILED)
        told.tally.note("10.0.0.8", FAILED)
        told.tally.note("10.0.0.7", PeerUnreachable("gone"))
        told.tally.note("10.0.0.7", EvidenceRefused("mrenclave", "another program"))
        told.tally.note("10.0.0.7", EvidenceRefused("role", "another role"))
        told.tally.note("w1", CallRefused("w1 may not make this call here", seen="RecvBuf"))
        told.tally.note("w1", CallRefused("a graph of w1 may not run here"))
    assert [count for _, _, count in told.lines] == [1] * 7


def test_many_addresses_share_one_place() -> None:
    told = Told()
    for number in range(100_000):
        told.tally.note(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", FAILED)
    assert len(told.lines) < MOST_KEPT + 7
    assert told.lines[-1][0] == ELSEWHERE
    told.tally.flush()
    assert told.counted == 100_000


def test_an_hour_later_what_is_untold_is_told_and_all_begins_anew() -> None:
    told = Told()
    for _ in range(15):
        told.tally.note("10.0.0.7", FAILED)
    told.now = HOUR_SECONDS
    told.tally.note("10.0.0.7", FAILED)
    assert [count for _, _, count in told.lines] == [1, 9, 5, 1]


def test_the_newest_error_is_told() -> None:
    seen: list[str] = []
    tally = Tally(lambda _, error, __: seen.append(error.what))
    for number in range(10):
        tally.note("10.0.0.7", HandshakeFailed(f"failure {number}"))
    assert seen == ["failure 0", "failure 9"]


def test_the_end_tells_what_is_left_once() -> None:
    told = Told()
    for _ in range(7):
        told.tally.note("10.0.0.7", FAILED)
    told.tally.flush()
    told.tally.flush()
    assert Counter(told.lines)[("10.0.0.7", "HandshakeFailed", 6)] == 1
    assert told.counted == 7


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("10.0.0.7", "10.0.0.7"),
        ("::ffff:10.0.0.7", "10.0.0.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("acme.example:7440", "acme.example:7440"),
    ],
)
def test_a_network_of_ipv6_is_one_address(host: str, expected: str) -> None:
    assert origin(host) == expected


def test_the_log_says_how_often(caplog: pytest.LogCaptureFixture) -> None:
    log_refusal("10.0.0.7", FAILED, 1)
    log_refusal("10.0.0.7", FAILED, 90)
    assert [record.message for record in caplog.records] == [
        "refused a peer at 10.0.0.7: TLS failed",
        "refused a peer at 10.0.0.7 90 times: TLS failed",
    ]
