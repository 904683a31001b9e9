"""A party looks at a running server: attested, read-only, and nobody else may."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from coterie.address import Address
from coterie.attestation.appraiser import Appraiser
from coterie.attestation.collateral_source import (
    CachedCollateral,
    CollateralSource,
    SimulatedCollateral,
    StapledOnly,
)
from coterie.contract import Contract
from coterie.errors import (
    CallRefused,
    ContractMismatch,
    CoterieError,
    EvidenceRefused,
    HandshakeFailed,
    MessageRefused,
    PeerUnreachable,
    SignatureRefused,
    VoucherRefused,
)
from coterie.kinds import TeeKind
from coterie.ps.checkpoints.records import DurableCheckpoint
from coterie.ps.progress import Progress
from coterie.ratls.deadline import Deadline
from coterie.ratls.frames import FrameReader, frame
from coterie.ratls.guests import ThrowAwayIdentity
from coterie.ratls.handshake import accept, dial
from coterie.ratls.listener import AttestationListener, listen
from coterie.ratls.messages import Refusal
from coterie.ratls.peer import Peer
from coterie.ratls.schema import Message
from coterie.ratls.session_binding import Binding
from coterie.ratls.tls import TlsConnection
from coterie.ratls.trust import RelyingParty, TrustContext
from coterie.status.client import AttestedStatus, ask_status
from coterie.status.messages import (
    PROTOCOL,
    Answer,
    Ask,
    ClusterAnswer,
    SeenCluster,
    SeenPeer,
    SeenRun,
    answer_bytes,
    answer_items,
)
from coterie.status.service import StatusService
from tests.ratls.conftest import GRPC_PORT, MEASUREMENT, World, nothing_leaks
from tests.ratls.kinds import TEES, mixed, trust

__all__ = ["nothing_leaks"]

OVERVIEW = Progress(
    phase="training",
    incarnation=5,
    step=3,
    steps=9,
    joined=("acme-worker",),
    missing=("bolt-worker",),
    silent=("acme-worker",),
    left_out=(),
    checkpoint=DurableCheckpoint(2, b"\7" * 32),
)


CLUSTER = SeenCluster(
    phase="waiting",
    missing=("bolt-worker",),
    program=b"\5" * 32,
    refusals=3,
    refused_calls=1,
)


@dataclass
class Scene:
    """A server with visitors, and who asks it."""

    world: World = field(default_factory=World)
    overview: Progress | SeenCluster = OVERVIEW
    peers: list[Peer] = field(default_factory=list)
    refused: list[CoterieError] = field(default_factory=list)
    address: Address = field(default_factory=lambda: Address("127.0.0.1", 1))

    @contextmanager
    def serving(
        self, trust: TrustContext | None = None, *, visitors: bool = True
    ) -> Iterator[None]:
        server = trust or self.world.trust("ps0", incarnation=5)
        status = StatusService(server, lambda: self.overview, lambda: tuple(self.peers))

        def admit(peer: Peer) -> int:
            self.peers.append(peer)
            return GRPC_PORT

        def handle(sock: socket.socket, seconds: float) -> None:
            accept(
                sock,
                server,
                admit,
                seconds=seconds,
                others=[status.reception] if visitors else (),
            )

        sock = listen(Address("127.0.0.1", 0))
        self.address = Address(*sock.getsockname())
        listener = AttestationListener(
            sock, handle, refused=lambda _, error, __: self.refused.append(error)
        )
        listener.start()
        try:
            yield
        finally:
            listener.stop()

    def trust(
        self,
        contract: Contract | None = None,
        *,
        measurement: bytes = MEASUREMENT,
        collateral: CollateralSource | None = None,
    ) -> RelyingParty:
        agreed = contract or self.world.contract
        return RelyingParty(
            contract=agreed,
            appraiser=Appraiser(agreed.trust, own_measurement=measurement),
            collateral=CachedCollateral(
                collateral or SimulatedCollateral(), kinds=agreed.trust.kinds
            ),
            clock=self.world.clock,
        )

    def ask(
        self,
        trust: RelyingParty | None = None,
        *,
        party: str = "acme",
        key: Ed25519PrivateKey | None = None,
        node: str = "ps0",
    ) -> AttestedStatus:
        return ask_status(
            self.address, node, trust or self.trust(), key or self.world.keys[party], party
        )


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.mark.parametrize("party", ["operator", "acme", "bolt"])
def test_every_party_of_the_contract_may_look(scene: Scene, party: str) -> None:
    with scene.serving():
        said = scene.ask(party=party)
    assert isinstance(said.answer, Answer)
    assert said.answer.run.progress == OVERVIEW
    assert said.answer.peers == ()
    assert said.verdict.simulated
    assert said.incarnation == 5
    assert scene.refused == []


@pytest.mark.parametrize("kind", TEES)
def test_a_server_in_any_kind_of_tee_is_judged_by_the_contract(scene: Scene, kind: TeeKind) -> None:
    contract = mixed(scene.world, kind, "simulated")
    server = trust(scene.world, contract, "ps0", TEES[kind])
    with scene.serving(server):
        assert scene.ask(scene.trust(contract)).verdict.tee == kind


def test_a_visitor_sees_who_has_proved_itself(scene: Scene) -> None:
    with scene.serving():
        dial(scene.address, "ps0", scene.world.trust("acme-worker", incarnation=7))
        dial(scene.address, "ps0", scene.world.trust("acme-worker", incarnation=8))
        (peer,) = scene.ask().answer.peers
    assert (peer.node, peer.incarnation, peer.tcb_status) == ("acme-worker", 8, "UpToDate")
    assert peer.measurement == MEASUREMENT.hex()
    assert datetime.fromtimestamp(peer.until, UTC) > scene.world.clock()


def test_a_visit_pins_nobody(scene: Scene) -> None:
    with scene.serving():
        scene.ask()
    assert scene.peers == []


def test_a_visitor_without_collateral_gets_it_stapled(scene: Scene) -> None:
    with scene.serving():
        assert scene.ask(scene.trust(collateral=StapledOnly())).verdict.tcb_status == "UpToDate"


def test_nodes_still_attest_at_the_same_port(scene: Scene) -> None:
    with scene.serving():
        scene.ask()
        assert dial(scene.address, "ps0", scene.world.trust("acme-worker")).peer.node == "ps0"
    assert [peer.node for peer in scene.peers] == ["acme-worker"]


# --- who is refused ----------------------------------------------------------------------------


def test_a_key_of_another_party_is_refused_before_it_asks(scene: Scene) -> None:
    with scene.serving(), pytest.raises(SignatureRefused, match="not the key"):
        scene.ask(party="acme", key=scene.world.keys["bolt"])


def session_statement(*, exporter: bytes, server_key: bytes, visitor_key: bytes) -> bytes:
    return Binding("listener", exporter, server_key, visitor_key).statement(PROTOCOL.label)


def forged_ask(scene: Scene, change: Callable[[bytes, bytes, bytes], Message]) -> Message:
    """A visitor that asks as it likes: given exporter, server's key and its own."""
    identity = ThrowAwayIdentity.create(scene.world.clock())
    seen: list[bytes] = []

    def judge(der: bytes) -> bytes:
        from coterie.ratls.certificate import read_certificate

        certificate = read_certificate(der)
        seen.append(certificate.spki_sha256)
        return certificate.spki_der

    connection = TlsConnection(
        socket.create_connection((scene.address.host, scene.address.port)),
        identity,
        judge,
        listener=False,
        at=scene.world.clock(),
        deadline=Deadline.after(5),
        peer_name="ps0",
        alpn=PROTOCOL.alpn,
    )
    try:
        connection.handshake()
        exporter = connection.exporter(PROTOCOL.exporter_label, 32)
        connection.send(frame(change(exporter, seen[0], identity.spki_sha256)))
        return FrameReader(
            PROTOCOL.codec, answer_bytes(3, stapled=True), items=answer_items(3)
        ).read_message(connection.receive)
    finally:
        connection.close()


def signed(key: Ed25519PrivateKey, statement: bytes, party: str = "acme") -> Ask:
    return Ask(party=party, signature=key.sign(statement), nonce=bytes(32), wants_collateral=False)


REFUSED: dict[str, Callable[[Scene, bytes, bytes, bytes], Ask]] = {
    "a stranger's key": lambda _, exporter, server, visitor: signed(
        Ed25519PrivateKey.generate(),
        session_statement(exporter=exporter, server_key=server, visitor_key=visitor),
    ),
    "another party's key": lambda scene, exporter, server, visitor: signed(
        scene.world.keys["bolt"],
        session_statement(exporter=exporter, server_key=server, visitor_key=visitor),
    ),
    "no party of the contract": lambda scene, exporter, server, visitor: signed(
        scene.world.keys["acme"],
        session_statement(exporter=exporter, server_key=server, visitor_key=visitor),
        "eve",
    ),
    "another session": lambda scene, _, server, visitor: signed(
        scene.world.keys["acme"],
        session_statement(exporter=bytes(32), server_key=server, visitor_key=visitor),
    ),
    "another server": lambda scene, exporter, _, visitor: signed(
        scene.world.keys["acme"],
        session_statement(exporter=exporter, server_key=bytes(32), visitor_key=visitor),
    ),
    "another visitor": lambda scene, exporter, server, _: signed(
        scene.world.keys["acme"],
        session_statement(exporter=exporter, server_key=server, visitor_key=bytes(32)),
    ),
    "a statement without its label": lambda scene, exporter, server, visitor: signed(
        scene.world.keys["acme"], exporter + server + visitor
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_who_is_no_party_learns_nothing(scene: Scene, name: str) -> None:
    with scene.serving():
        answer = forged_ask(scene, lambda *parts: REFUSED[name](scene, *parts))
    assert isinstance(answer, Refusal)
    assert answer.reason["error"] == "CallRefused"
    assert "only parties of the contract" in answer.reason["what"]
    assert [type(error) for error in scene.refused] == [CallRefused]


def test_another_message_than_a_question_is_refused(scene: Scene) -> None:
    with scene.serving():
        answer = forged_ask(scene, lambda *_: Refusal.of({}))
    assert isinstance(answer, Refusal)
    assert answer.reason["error"] == "MessageRefused"


def test_a_node_that_receives_no_visitors_refuses_them(scene: Scene) -> None:
    with scene.serving(visitors=False), pytest.raises((HandshakeFailed, PeerUnreachable)):
        scene.ask()
    assert [type(error) for error in scene.refused] == [HandshakeFailed]


# --- whom a visitor refuses --------------------------------------------------------------------


def test_a_server_of_another_program_is_refused(scene: Scene) -> None:
    with scene.serving(), pytest.raises(EvidenceRefused) as refusal:
        scene.ask(scene.trust(measurement=bytes(32)))
    assert refusal.value.failed_check == "mrenclave"


def test_a_server_under_another_contract_is_refused(scene: Scene) -> None:
    with scene.serving(), pytest.raises(ContractMismatch, match="another contract"):
        scene.ask(scene.trust(scene.world.changed("training", "epochs", value=9)))


def test_another_node_than_the_asked_one_is_refused(scene: Scene) -> None:
    with scene.serving(scene.world.trust("acme-worker")), pytest.raises(EvidenceRefused) as refusal:
        scene.ask()
    assert refusal.value.failed_check == "node"


def test_a_server_with_a_stolen_key_is_refused(scene: Scene) -> None:
    """It has certificate and key, but its TEE is another: no quote for this session."""
    genuine = scene.world.trust("ps0")
    thief = replace(genuine, tee=scene.world.trust("ps0", measurement=bytes(32)).tee)
    with scene.serving(thief), pytest.raises(EvidenceRefused) as refusal:
        scene.ask()
    assert refusal.value.failed_check in {"mrenclave", "session_binding"}


def test_a_replayed_answer_is_refused(scene: Scene) -> None:
    class Replaying:
        """Quotes something else than it is asked to."""

        def __init__(self, tee: object) -> None:
            self._tee = tee

        def __getattr__(self, name: str) -> object:
            return getattr(self._tee, name)

        def quote(self, _: bytes) -> bytes:
            return scene.world.trust("ps0").tee.quote(b"\5" * 64)

    genuine = scene.world.trust("ps0")
    with (
        scene.serving(replace(genuine, tee=Replaying(genuine.tee))),  # type: ignore[arg-type]
        pytest.raises(EvidenceRefused) as refusal,
    ):
        scene.ask()
    assert refusal.value.failed_check == "session_binding"


def test_a_server_that_no_party_vouches_for_is_refused(scene: Scene) -> None:
    from tests.ratls.forging import vouch

    genuine = scene.world.trust("ps0")
    shown = genuine.credentials.current()
    forged = replace(shown, voucher=vouch(scene.world, shown.identity.claims, "bolt"))
    with (
        scene.serving(scene.world.showing(genuine, forged)),
        pytest.raises(VoucherRefused, match="not signed by party operator"),
    ):
        scene.ask()


def test_nobody_there_is_told(scene: Scene) -> None:
    with pytest.raises(PeerUnreachable, match="ps0 does not answer"):
        scene.ask()


def test_a_server_that_hangs_up_is_told(scene: Scene) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        scene.address = Address(*silent.getsockname())

        def hang_up() -> None:
            silent.accept()[0].close()

        hung_up = threading.Thread(target=hang_up)
        hung_up.start()
        with pytest.raises(PeerUnreachable):
            scene.ask()
        hung_up.join()


# --- the messages ------------------------------------------------------------------------------

PEER = SeenPeer(
    node="acme-worker",
    incarnation=7,
    tcb_status="UpToDate",
    measurement="ab" * 32,
    attested_at=1,
    until=2,
)
RUN = SeenRun.of(OVERVIEW)
ASKED = Ask(party="acme", signature=b"\1" * 64, nonce=b"\2" * 32, wants_collateral=True)
ANSWER = Answer(quote=b"q", voucher=b"v", collateral=b"", run=RUN, peers=(PEER,))

CLUSTER_ANSWER = ClusterAnswer(
    quote=b"q", voucher=b"v", collateral=b"", cluster=CLUSTER, peers=(PEER,)
)


def decode(message: Message) -> Message:
    return PROTOCOL.codec.decode(
        frame(message)[4:], max_bytes=answer_bytes(2000, stapled=False), max_items=20_000
    )


@pytest.mark.parametrize("checkpoint", [OVERVIEW.checkpoint, None])
def test_where_the_run_stands_comes_back_whole(checkpoint: DurableCheckpoint | None) -> None:
    progress = replace(OVERVIEW, checkpoint=checkpoint)
    answer = decode(ANSWER.model_copy(update={"run": SeenRun.of(progress)}))
    assert isinstance(answer, Answer)
    assert answer.run.progress == progress


@pytest.mark.parametrize("refused_calls", [None, 0, 7])
def test_where_a_cluster_stands_comes_back_whole(refused_calls: int | None) -> None:
    cluster = CLUSTER.model_copy(update={"refused_calls": refused_calls})
    said = CLUSTER_ANSWER.model_copy(update={"cluster": cluster})
    assert decode(said) == said


def test_a_visitor_of_a_cluster_sees_its_program_and_who_is_missing(scene: Scene) -> None:
    scene.overview = CLUSTER
    with scene.serving():
        said = scene.ask()
    assert isinstance(said.answer, ClusterAnswer)
    assert said.answer.cluster == CLUSTER


def test_an_answer_holds_nothing_of_anybodys_data() -> None:
    fields = {
        "phase", "incarnation", "step", "steps", "joined", "missing", "silent", "left_out",
        "checkpoint",
    }  # fmt: skip
    assert set(Progress.__dataclass_fields__) == set(SeenRun.model_fields) == fields
    assert set(SeenCluster.model_fields) == {
        "phase", "missing", "program", "refusals", "refused_calls",
    }  # fmt: skip


def cluster(**changed: object) -> dict[str, object]:
    return {"cluster": CLUSTER.model_copy(update=changed)}


def run(**changed: object) -> dict[str, object]:
    return {"run": RUN.model_copy(update=changed)}


def peers(**changed: object) -> dict[str, object]:
    return {"peers": (PEER.model_copy(update=changed),)}


@pytest.mark.parametrize(
    ("message", "changed", "seen"),
    [
        (ASKED, {"party": "a" * 64}, "party: "),
        (ASKED, {"signature": b"\1" * 63}, "signature: "),
        (ASKED, {"nonce": b"\2" * 31}, "nonce: "),
        (ASKED, {"wants_collateral": 1}, "wants_collateral: "),
        (ANSWER, {"quote": b""}, "quote: "),
        (ANSWER, {"voucher": b""}, "voucher: "),
        (ANSWER, run(phase="sleeping"), "run.phase: "),
        (CLUSTER_ANSWER, cluster(phase="training"), "cluster.phase: "),
        (CLUSTER_ANSWER, cluster(missing=("x\n",)), "cluster.missing.0: "),
        (CLUSTER_ANSWER, cluster(program=b"p"), "cluster.program: "),
        (CLUSTER_ANSWER, cluster(refused_calls=-1), "cluster.refused_calls: "),
        (ANSWER, run(step=-1), "run.step: "),
        (ANSWER, run(step=True), "run.step: "),
        (ANSWER, run(joined=("x",) * 1025), "run.joined: "),
        (ANSWER, run(joined={"x": 1}), "run.joined: "),
        (ANSWER, run(missing=("\u00e4",)), "run.missing.0: "),
        (ANSWER, run(missing=("x\n",)), "run.missing.0: "),
        (ANSWER, run(missing=("",)), "run.missing.0: "),
        (ANSWER, run(checkpoint=(1, b"")), "run.checkpoint."),
        (ANSWER, run(checkpoint=(-1, bytes(32))), "run.checkpoint."),
        (ANSWER, run(checkpoint=(1, bytes(32), 1)), "run.checkpoint"),
        (ANSWER, {"peers": (PEER,) * 1025}, "peers: "),
        (ANSWER, peers(until=2**60), "peers.0.until: "),
        (ANSWER, peers(incarnation=-1), "peers.0.incarnation: "),
        (ANSWER, peers(tcb_status="x" * 101), "peers.0.tcb_status: "),
    ],
)
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_a_message_out_of_bounds_is_refused(
    message: Message, changed: dict[str, object], seen: str
) -> None:
    with pytest.raises(MessageRefused) as refused:
        decode(message.model_copy(update=changed))
    assert refused.value.seen.startswith(seen)
