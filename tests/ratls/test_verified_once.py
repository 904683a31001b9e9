"""In a handshake each quote is parsed once and authenticated once, wherever its collateral comes from.

The work is counted by a profiler (``sys.setprofile``) that sees every call: nothing is replaced.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType, FunctionType
from typing import TYPE_CHECKING, cast

import pytest

from coterie.attestation import dcap
from coterie.attestation.appraiser import Appraisal
from coterie.attestation.collateral_source import (
    CachedCollateral,
    DirectoryCollateral,
    SimulatedCollateral,
    StapledOnly,
)
from coterie.attestation.evidence import authenticate
from coterie.attestation.quote import parse_quote
from coterie.ratls.trust import TrustContext
from tests.keys.server.conftest import Owner
from tests.status.test_status import Scene

if TYPE_CHECKING:
    from tests.ratls.conftest import World

QUOTES = 2  # the certificate's and the session's
WORK: dict[str, Callable[..., object]] = {
    "parsed": parse_quote,
    "authenticated": authenticate,
    "verified by dcap-qvl": dcap.verify_quote,
}
ONCE = Counter(dict.fromkeys(WORK, QUOTES))


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Counts the calls of the functions that cost, in every thread that begins meanwhile."""
    codes = {cast("FunctionType", function).__code__: name for name, function in WORK.items()}
    counts: Counter[str] = Counter()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code in codes:
            counts[codes[frame.f_code]] += 1

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield counts
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def held(world: World, _: Path) -> CachedCollateral:
    """Collateral that is held already."""
    cache = CachedCollateral(SimulatedCollateral(), kinds={"simulated"})
    at = world.clock()
    cache.collateral_for(parse_quote(world.trust("ps0").tee.quote(bytes(64))), at)
    return cache


def looked_up(_: World, __: Path) -> CachedCollateral:
    """Collateral that a source has to be asked for."""
    return CachedCollateral(SimulatedCollateral(), kinds={"simulated"})


def stored(world: World, folder: Path) -> CachedCollateral:
    """Collateral in a directory, which this process has not read yet."""
    directory = DirectoryCollateral(folder)
    quote = parse_quote(world.trust("ps0").tee.quote(bytes(64)))
    at = world.clock()
    directory.store(quote.platform(), SimulatedCollateral().collateral_for(quote, at))
    return CachedCollateral(StapledOnly(), kinds={"simulated"}, directory=directory)


def none(_: World, __: Path) -> CachedCollateral:
    """No collateral: the peer staples it."""
    return CachedCollateral(StapledOnly(), kinds={"simulated"})


SOURCES = [held, looked_up, stored, none]


def hearing(
    trust: TrustContext, collateral: CachedCollateral
) -> tuple[TrustContext, list[Appraisal]]:
    heard: list[Appraisal] = []
    appraiser = trust.appraiser.heard_by(heard.append)
    return replace(trust, appraiser=appraiser, collateral=collateral), heard


@pytest.mark.parametrize("source", SOURCES)
def test_each_side_does_the_work_once_for_each_quote(
    world: World, tmp_path: Path, source: Callable[[World, Path], CachedCollateral]
) -> None:
    worker, heard_by_worker = hearing(
        world.trust("acme-worker"), source(world, tmp_path / "worker")
    )
    server, heard_by_server = hearing(world.trust("ps0"), held(world, tmp_path))
    with counted() as counts:
        assert world.handshake(worker, server).attested

    # Whoever staples parses its own quote too: collateral is looked up by what a quote says.
    stapled = Counter(parsed=1) if source is none else Counter()
    assert counts == ONCE + ONCE + stapled
    for heard in (heard_by_worker, heard_by_server):
        assert [appraisal.verdict is not None for appraisal in heard] == [True] * QUOTES


def test_a_key_server_does_the_work_once_for_each_quote(world: World, tmp_path: Path) -> None:
    owner = Owner(world, tmp_path)
    identity = owner.identity()
    with counted() as counts, owner.serving():
        assert owner.client().vouch(identity)
    assert counts == ONCE


@pytest.mark.parametrize("source", [SimulatedCollateral, StapledOnly])
def test_a_party_that_asks_for_the_status_does_the_work_once_for_each_quote(
    tmp_path: Path, source: Callable[[], SimulatedCollateral | StapledOnly]
) -> None:
    scene = Scene()
    trust = scene.trust(collateral=source())
    server = scene.world.trust("ps0")
    server = replace(server, collateral=held(scene.world, tmp_path))
    with scene.serving(server), counted() as counts:
        assert scene.ask(trust).verdict
    assert counts == ONCE + Counter(parsed=1 if source is StapledOnly else 0)
