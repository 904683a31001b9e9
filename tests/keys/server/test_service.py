"""A key server gives vouchers and keys to attested nodes of its party, and to nobody else."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from coterie.address import Address
from coterie.attestation.tee.simulated.enclave import SimulatedTee
from coterie.contract import contract_digest
from coterie.contract.trust import TrustSection
from coterie.errors import (
    CoterieError,
    HandshakeFailed,
    KeyRefused,
    PeerUnreachable,
)
from coterie.keys.server.client import KeyServerClient
from coterie.keys.server.journal import verify_journal
from coterie.keys.server.policy import KeyPolicy, Release
from coterie.ratls.identity import NodeIdentity
from coterie.ratls.voucher import verify_voucher
from tests.keys.server.conftest import KEY, Owner
from tests.ratls.conftest import MEASUREMENT

OTHER_MEASUREMENT = bytes(32)


def test_an_attested_node_gets_its_partys_voucher(owner: Owner) -> None:
    identity = owner.identity()
    with owner.serving():
        voucher = owner.client().vouch(identity)
    verify_voucher(voucher, identity.claims, contract=owner.world.contract, at=owner.world.clock())


def test_an_attested_node_gets_the_key_of_the_data_set_that_it_names(owner: Owner) -> None:
    with owner.serving():
        assert owner.client().data_key(owner.identity(), KEY.set_id) == KEY.key
    assert not owner.refused


def test_every_answer_is_in_the_log_and_no_key_is(owner: Owner) -> None:
    identity = owner.identity()
    with owner.serving():
        owner.client().vouch(identity)
        owner.client().data_key(identity, KEY.set_id)
        with pytest.raises(HandshakeFailed):
            owner.client().data_key(identity, b"\7" * 32)
    lines = [json.loads(line) for line in owner.log.read_text().splitlines()]
    assert [(line["wanted"], line["outcome"]) for line in lines] == [
        ("voucher", "granted"),
        ("data", "granted"),
        ("data", "KeyRefused"),
    ]
    assert {line["node"] for line in lines} == {"acme-worker"}
    assert lines[1]["set_id"] == KEY.set_id.hex()
    assert lines[0]["contract"] == contract_digest(owner.world.contract).hex()
    assert KEY.key.hex() not in owner.log.read_text()
    verify_journal(owner.log)


@dataclass(frozen=True)
class Refusal:
    """Who asks, under which policy; and what the server says to it."""

    name: str
    said: str
    identity: Callable[[Owner], NodeIdentity] = Owner.identity
    client: Callable[[Owner], KeyServerClient] = Owner.client
    policy: Callable[[Owner], KeyPolicy] = Owner.policy
    set_id: bytes = KEY.set_id
    later: timedelta = timedelta()


def strict(owner: Owner) -> KeyPolicy:
    """The owner trusts another measurement than the contract's."""
    roles = owner.world.contract.trust.roles
    assert roles.worker is not None
    worker = roles.worker.model_copy(
        update={"measurement": None, "mrenclave": (OTHER_MEASUREMENT.hex(),)}
    )
    trust = owner.world.contract.trust.model_copy(
        update={"roles": roles.model_copy(update={"worker": worker})}
    )
    assert isinstance(trust, TrustSection)
    return replace(owner.policy(), trust=trust)


def for_servers_only(owner: Owner) -> KeyPolicy:
    return replace(owner.policy(), releases={KEY.set_id: Release(KEY, frozenset({"ps"}))})


REFUSALS = [
    Refusal(
        "another contract",
        "ContractMismatch: node acme-worker runs under another contract",
        identity=lambda o: o.identity(contract=o.world.changed("training", "seed", value=9)),
    ),
    Refusal(
        "another party's node",
        "KeyRefused: node bolt-worker is of another party",
        identity=lambda o: o.identity("bolt-worker"),
    ),
    Refusal(
        "another role",
        "KeyRefused: node acme-worker may not have the key",
        policy=for_servers_only,
    ),
    Refusal("another data set", "has no key for this data set", set_id=b"\7" * 32),
    Refusal(
        "another program, in the session",
        "EvidenceRefused: [mrenclave]",
        client=lambda o: o.client(measurement=OTHER_MEASUREMENT),
    ),
]


@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: case.name)
def test_others_get_nothing_and_are_told_why(owner: Owner, case: Refusal) -> None:
    identity = case.identity(owner)
    with owner.serving(case.policy(owner)):
        client = case.client(owner)
        with pytest.raises(HandshakeFailed) as refusal:
            client.data_key(identity, case.set_id)
    assert case.said in refusal.value.what
    assert len(owner.refused) == 1


@dataclass(frozen=True)
class Unseen:
    """Who is refused inside TLS, where there is room for an alert only."""

    name: str
    check: str
    identity: Callable[[Owner], NodeIdentity] = Owner.identity
    policy: Callable[[Owner], KeyPolicy] = Owner.policy
    later: timedelta = timedelta()


UNSEEN = [
    Unseen(
        "another program",
        "mrenclave",
        identity=lambda o: o.identity(measurement=OTHER_MEASUREMENT),
    ),
    Unseen("a program that the contract trusts and the owner does not", "mrenclave", policy=strict),
    Unseen("a stale certificate", "certificate_validity", later=timedelta(hours=13)),
]


@pytest.mark.parametrize("case", UNSEEN, ids=lambda case: case.name)
def test_wrong_evidence_is_refused_by_name_in_the_servers_log(owner: Owner, case: Unseen) -> None:
    identity = case.identity(owner)
    owner.world.clock.advance(case.later)
    with owner.serving(case.policy(owner)):
        client = owner.client()
        with pytest.raises(CoterieError):
            client.data_key(identity, KEY.set_id)
    (error,) = owner.refused
    assert getattr(error, "failed_check", None) == case.check
    assert not owner.log.read_bytes()


class StaleTee(SimulatedTee):
    """Makes its quotes for another session than it is asked for."""

    def quote(self, report_data: bytes) -> bytes:
        return super().quote(bytes(64) if report_data.endswith(bytes(32)) else report_data)


def test_a_quote_of_another_session_gets_nothing(owner: Owner) -> None:
    identity = owner.identity()
    with owner.serving():
        client = replace(owner.client(), tee=StaleTee(MEASUREMENT))
        with pytest.raises(HandshakeFailed, match=r"EvidenceRefused: \[session_binding\]"):
            client.data_key(identity, KEY.set_id)


def test_a_server_without_the_partys_key_is_asked_for_nothing(owner: Owner) -> None:
    with owner.serving(signer="bolt"):
        client = owner.client()
        with pytest.raises(KeyRefused, match="not the key server of party acme"):
            client.vouch(owner.identity())
    assert not owner.log.read_bytes()


def test_another_partys_key_server_is_not_taken_for_ones_own(owner: Owner) -> None:
    with owner.serving():
        client = owner.client(party="bolt")
        with pytest.raises(KeyRefused, match="not the key server of party bolt"):
            client.vouch(owner.identity("bolt-worker"))


def test_a_server_that_does_not_answer_is_waited_for(owner: Owner) -> None:
    waits: list[float] = []

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        return len(waits) == 3

    client = replace(owner.client(), patience_seconds=60.0, waiter=wait)
    with pytest.raises(PeerUnreachable, match="the key server of acme does not answer"):
        client.vouch(owner.identity())
    assert waits == [0.1, 0.2, 0.4]


@pytest.mark.parametrize("octets", [b"", b"GET / HTTP/1.0\r\n\r\n", bytes(200)])
def test_strangers_are_dropped(owner: Owner, octets: bytes) -> None:
    with owner.serving():
        with socket.create_connection((owner.address.host, owner.address.port)) as sock:
            sock.sendall(octets)
            sock.shutdown(socket.SHUT_WR)
            sock.settimeout(10)
            while sock.recv(4096):
                pass
        assert owner.client().data_key(owner.identity(), KEY.set_id) == KEY.key
    assert len(owner.refused) == 1


FORGED: dict[str, tuple[bytes, type[CoterieError]]] = {
    "an HTTP error": (b"HTTP/1.1 400 Bad Request\r\n\r\n", HandshakeFailed),
    "a TLS alert": (b"\x15\x03\x03\x00\x02\x02\x28", HandshakeFailed),
    "nothing": (b"", PeerUnreachable),
}


@pytest.mark.parametrize("kind", FORGED)
def test_a_forged_answer_does_not_end_the_asking(owner: Owner, kind: str) -> None:
    octets, expected = FORGED[kind]
    told: list[CoterieError] = []
    server = socket.create_server(("127.0.0.1", 0))
    owner.address = Address(*server.getsockname())

    def forge() -> None:
        sock, _ = server.accept()
        server.close()
        with sock, suppress(OSError):
            sock.recv(4096)
            sock.sendall(octets)
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(4096):
                pass

    forger = threading.Thread(target=forge)
    forger.start()
    with ExitStack() as stack:

        def then(_: float) -> bool:
            forger.join()
            stack.enter_context(owner.serving(port=owner.address.port))
            return False

        client = replace(
            owner.client(),
            patience_seconds=60.0,
            waiter=then,
            failed=lambda _, error, __: told.append(error),
        )
        assert client.data_key(owner.identity(), KEY.set_id) == KEY.key
    assert [type(error) for error in told] == ([] if expected is PeerUnreachable else [expected])


def test_another_servers_answer_is_told_when_patience_ends(owner: Owner) -> None:
    waits: list[float] = []

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        return len(waits) == 3

    with owner.serving(signer="bolt"):
        client = replace(owner.client(), patience_seconds=60.0, waiter=wait)
        with pytest.raises(KeyRefused, match="not the key server of party acme"):
            client.vouch(owner.identity())
    assert len(waits) == 3


def test_a_refusal_by_the_partys_own_server_ends_the_asking_at_once(owner: Owner) -> None:
    def never(_: float) -> bool:
        raise AssertionError("waited")

    with owner.serving():
        client = replace(owner.client(), patience_seconds=60.0, waiter=never)
        with pytest.raises(HandshakeFailed, match="has no key for this data set") as refusal:
            client.data_key(owner.identity(), b"\7" * 32)
    assert refusal.value.peer_proved
