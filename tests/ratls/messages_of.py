"""Messages and papers of every kind, for property tests."""

from __future__ import annotations

from typing import get_args

from hypothesis import strategies as st

from coterie.keys.server.messages import Grant, KeyRequest, ServerHello
from coterie.kinds import Role
from coterie.ps.progress import Phase
from coterie.ratls.claims import Claims
from coterie.ratls.messages import (
    Acceptance,
    ContractMessage,
    EvidenceMessage,
    Hello,
    Refusal,
)
from coterie.ratls.schema import Message
from coterie.ratls.voucher import Voucher
from coterie.status.messages import Answer, Ask, ClusterAnswer, SeenCluster, SeenPeer, SeenRun

LAST_SECOND = 253_402_300_799
ROLES: tuple[Role, ...] = get_args(Role)
NAMES = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)
_PHASES: tuple[Phase, ...] = get_args(Phase)
_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
_COUNTS = st.integers(0, 2**63 - 1)
_SECONDS = st.integers(0, LAST_SECOND)


def exactly(octets: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=octets, max_size=octets)


REFUSALS = st.builds(
    Refusal,
    **dict.fromkeys(("error", "what", "expected", "seen", "remedy", "failed_check"), _TEXTS),
)
HANDSHAKE: st.SearchStrategy[Message] = st.one_of(
    st.builds(Hello, nonce=exactly(32), wants_collateral=st.booleans()),
    st.builds(
        EvidenceMessage,
        quote=st.binary(min_size=1, max_size=500),
        voucher=st.binary(max_size=100),
        collateral=st.binary(max_size=500),
    ),
    st.builds(ContractMessage, contract=st.binary(min_size=2, max_size=500)),
    st.builds(Acceptance, grpc_port=st.integers(0, 65_535), valid_until=_SECONDS),
    REFUSALS,
)


@st.composite
def _requests(draw: st.DrawFn) -> KeyRequest:
    wanted = draw(st.sampled_from(["voucher", "data", "model", "share"]))
    return KeyRequest(
        wanted=wanted,  # type: ignore[arg-type]
        set_id=draw(exactly(32 if wanted == "data" else 0)),
        voucher=draw(st.binary(max_size=100 if wanted == "share" else 0)),
        quote=draw(st.binary(min_size=1, max_size=300)),
        collateral=draw(st.binary(max_size=300)),
    )


KEYS: st.SearchStrategy[Message] = st.one_of(
    st.builds(
        ServerHello, nonce=exactly(32), signature=exactly(64), wants_collateral=st.booleans()
    ),
    _requests(),
    st.builds(Grant, content=st.binary(min_size=1, max_size=1024)),
    REFUSALS,
)
_NODES = st.lists(NAMES, max_size=4).map(tuple)
_PRINTABLE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=100)
_RUNS = st.builds(
    SeenRun,
    phase=st.sampled_from(_PHASES),
    incarnation=_COUNTS,
    step=_COUNTS,
    steps=_COUNTS,
    joined=_NODES,
    missing=_NODES,
    silent=_NODES,
    left_out=_NODES,
    checkpoint=st.none() | st.tuples(_COUNTS, exactly(32)),
)
_CLUSTERS = st.builds(
    SeenCluster,
    phase=st.sampled_from(["waiting", "running"]),
    missing=_NODES,
    program=exactly(32),
    refusals=_COUNTS,
    refused_calls=st.none() | _COUNTS,
)
_PEERS = st.builds(
    SeenPeer,
    node=NAMES,
    incarnation=st.integers(0, 2**64 - 1),
    tcb_status=_PRINTABLE,
    measurement=_PRINTABLE,
    attested_at=_SECONDS,
    until=_SECONDS,
)
STATUS: st.SearchStrategy[Message] = st.one_of(
    st.builds(
        Ask,
        party=st.text(st.characters(exclude_categories=["Cs"]), max_size=63),
        signature=exactly(64),
        nonce=exactly(32),
        wants_collateral=st.booleans(),
    ),
    st.builds(
        Answer,
        quote=st.binary(min_size=1, max_size=300),
        voucher=st.binary(min_size=1, max_size=100),
        collateral=st.binary(max_size=300),
        run=_RUNS,
        peers=st.lists(_PEERS, max_size=3).map(tuple),
    ),
    st.builds(
        ClusterAnswer,
        quote=st.binary(min_size=1, max_size=300),
        voucher=st.binary(min_size=1, max_size=100),
        collateral=st.binary(max_size=300),
        cluster=_CLUSTERS,
        peers=st.lists(_PEERS, max_size=3).map(tuple),
    ),
    REFUSALS,
)
CLAIMS = st.builds(
    Claims,
    pubkey_hash=exactly(32),
    contract_digest=exactly(32),
    node=NAMES,
    role=st.sampled_from(ROLES),
    party=NAMES,
    incarnation=st.integers(0, 2**64 - 1),
)
VOUCHERS = st.builds(
    Voucher,
    contract_digest=exactly(32),
    node=NAMES,
    role=st.sampled_from(ROLES),
    spki_sha256=exactly(32),
    incarnation=st.integers(0, 2**64 - 1),
    expiry=_SECONDS,
    signature=exactly(64),
)
