"""Handshakes between nodes in all simulated kinds of TEE: by role, and several for one role."""

from __future__ import annotations

from itertools import permutations

import pytest

from coterie.attestation.collateral_source import StapledOnly
from coterie.errors import EvidenceRefused
from coterie.kinds import SIMULATED, TeeKind
from coterie.ratls.trust import make_trust
from tests.ratls.conftest import World
from tests.ratls.kinds import (
    AZURE,
    ELSEWHERE,
    TABLES,
    TEES,
    Relay,
    Replay,
    handshake,
    mixed,
    of_two,
    refusal,
    trust,
)

PAIRS = list(permutations(TEES, 2))


def test_every_simulated_kind_is_tried() -> None:
    assert set(TEES) == set(TABLES) == set(ELSEWHERE) == SIMULATED
    assert all(tee.kind == kind for tees in (TEES, ELSEWHERE) for kind, tee in tees.items())


@pytest.mark.parametrize("server", TEES)
@pytest.mark.parametrize("worker", TEES)
def test_nodes_of_all_kinds_attest_each_other(
    world: World, server: TeeKind, worker: TeeKind
) -> None:
    contract = mixed(world, server, worker)
    ours, theirs = world.handshake(
        trust(world, contract, "acme-worker", TEES[worker]),
        trust(world, contract, "ps0", TEES[server]),
    ).attested
    assert (ours.peer.verdict.tee, theirs.peer.verdict.tee) == (server, worker)
    assert ours.peer.verdict.simulated
    assert theirs.peer.verdict.simulated


@pytest.mark.parametrize(("demanded", "shown"), PAIRS)
def test_a_role_is_not_taken_in_another_kind(
    world: World, demanded: TeeKind, shown: TeeKind
) -> None:
    """It runs under a contract of its own making, so the peer must be the one that refuses."""
    server = trust(world, mixed(world, "simulated", demanded), "ps0", TEES["simulated"])
    worker = trust(world, mixed(world, "simulated", shown), "acme-worker", TEES[shown])
    assert refusal(world.handshake(worker, server)).failed_check == "tee_kind"


@pytest.mark.parametrize(("demanded", "tee"), PAIRS)
def test_a_node_in_another_tee_than_its_own_does_not_start(
    world: World, demanded: TeeKind, tee: TeeKind
) -> None:
    with pytest.raises(EvidenceRefused) as refused:
        trust(world, mixed(world, "simulated", demanded), "acme-worker", TEES[tee])
    assert (refused.value.failed_check, refused.value.expected) == ("tee_kind", demanded)


@pytest.mark.parametrize(("acme", "bolt"), PAIRS)
def test_nodes_of_one_role_are_attested_in_the_kinds_that_they_name(
    world: World, acme: TeeKind, bolt: TeeKind
) -> None:
    contract = of_two(world, acme, bolt)
    server = trust(world, contract, "ps0", TEES["simulated"])
    for name, kind in (("acme-worker", acme), ("bolt-worker", bolt)):
        _, seen = world.handshake(trust(world, contract, name, TEES[kind]), server).attested
        assert seen.peer.verdict.tee == kind


@pytest.mark.parametrize(("acme", "bolt"), PAIRS)
def test_a_node_in_the_kind_of_another_node_of_its_role_is_refused(
    world: World, acme: TeeKind, bolt: TeeKind
) -> None:
    """The role lists the kind, but not for this node. Its own contract has the two exchanged."""
    server = trust(world, of_two(world, acme, bolt), "ps0", TEES["simulated"])
    worker = trust(world, of_two(world, bolt, acme), "acme-worker", TEES[bolt])
    assert refusal(world.handshake(worker, server)).failed_check == "tee_kind"


@pytest.mark.parametrize("kind", TEES)
def test_a_node_is_judged_by_the_table_of_its_kind_alone(world: World, kind: TeeKind) -> None:
    """What the other kind's table lists of the paravisor is nothing to this node."""
    other = next(one for one in AZURE if one != kind)
    contract = of_two(
        world, kind, other, "[trust.roles.worker.alternatives.vtpm]\nsecure_boot = [false]\n"
    )
    server = trust(world, contract, "ps0", TEES["simulated"])
    assert world.handshake(trust(world, contract, "acme-worker", TEES[kind]), server).attested
    refused = refusal(world.handshake(trust(world, contract, "bolt-worker", TEES[other]), server))
    assert refused.failed_check == "secure_boot"


@pytest.mark.parametrize("kind", TEES)
def test_collateral_is_stapled_in_both_directions(world: World, kind: TeeKind) -> None:
    contract = mixed(world, "simulated", kind)
    vouchers = world.vouchers(world.node("ps0").party)
    poor = make_trust(
        contract, "ps0", TEES["simulated"], vouchers, world.clock, collateral=StapledOnly()
    )
    worker = trust(world, contract, "acme-worker", TEES[kind])
    _, seen = world.handshake(worker, poor).attested
    assert seen.peer.verdict.tee == kind


@pytest.mark.parametrize("kind", TEES)
def test_evidence_of_two_machines_for_certificate_and_session_is_refused(
    world: World, kind: TeeKind
) -> None:
    relay = Relay(TEES[kind], ELSEWHERE[kind])
    assert refusal(handshake(world, relay)).failed_check == "session_binding"


@pytest.mark.parametrize("kind", TEES)
def test_old_evidence_for_a_session_is_refused(world: World, kind: TeeKind) -> None:
    assert refusal(handshake(world, Replay(TEES[kind]))).failed_check == "session_binding"
