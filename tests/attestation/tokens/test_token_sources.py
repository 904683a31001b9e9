"""Where a node's tokens come from: a unix socket whose answers are bounded, and options that must fit the contract."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from typing_extensions import override

from coterie.attestation.tee.simulated.tokens import SimulatedTokens
from coterie.attestation.tokens.local import KEEP_SECONDS, SocketTokens
from coterie.attestation.tokens.sources import tokens_from_options
from coterie.errors import ContractInvalid, EnvironmentUnfit
from tests.attestation.forgeries import AT
from tests.attestation.local_service import LocalService
from tests.attestation.tokens.test_token_verification import DEMANDED, REPORT_DATA, verify

INTEL = DEMANDED.model_copy(update={"service": "intel", "audience": "other"})


class TokenService(LocalService):
    """A service that gives tokens as they are asked for."""

    @override
    def answer(self, question: dict[str, object]) -> bytes:
        changed = {"aud": question["audience"], "eat_nonce": question["nonces"]}
        made = SimulatedTokens((DEMANDED,), lambda: AT, changed=changed)
        return made.tokens(REPORT_DATA) + b"\n"


def test_tokens_are_asked_for_with_the_contracts_audience_and_the_report_data(
    tmp_path: Path,
) -> None:
    service = TokenService(tmp_path / "s")
    with service.serving():
        shown = SocketTokens((DEMANDED, INTEL), service.path).tokens(REPORT_DATA)
    assert verify(*shown.split(b"\n"), demanded=(DEMANDED, INTEL)).checks
    question = {"nonces": [REPORT_DATA[:32].hex()], "token_type": "OIDC"}
    assert service.asked == [
        ("/v1/token", {"audience": "coterie", **question}),
        ("/v1/intel/token", {"audience": "other", **question}),
    ]


def test_tokens_are_kept_for_some_minutes_and_for_one_key(tmp_path: Path) -> None:
    now = 0.0
    service = TokenService(tmp_path / "s")
    source = SocketTokens((DEMANDED,), service.path, monotonic=lambda: now)
    with service.serving():
        first = source.tokens(REPORT_DATA)
        assert source.tokens(REPORT_DATA) == first
        assert len(service.asked) == 1
        source.tokens(bytes(64))
        assert len(service.asked) == 2
        source.tokens(bytes(64))
        now = KEEP_SECONDS
        source.tokens(bytes(64))
    assert len(service.asked) == 3


@pytest.mark.parametrize(
    ("status", "body", "seen"),
    [
        (500, b"no", "HTTP status 500"),
        (302, b"elsewhere", "HTTP status 302"),
        (200, bytes((1 << 14) + 1), f"more than {1 << 14} bytes"),
    ],
)
def test_other_answers_are_no_tokens(tmp_path: Path, status: int, body: bytes, seen: str) -> None:
    service = LocalService(tmp_path / "s", status, body)
    with service.serving(), pytest.raises(EnvironmentUnfit) as unfit:
        SocketTokens((DEMANDED,), service.path).tokens(REPORT_DATA)
    assert unfit.value.seen == seen


def test_a_socket_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentUnfit) as unfit:
        SocketTokens((DEMANDED,), tmp_path / "none").tokens(REPORT_DATA)
    assert str(tmp_path / "none") in unfit.value.what
    assert unfit.value.seen.startswith("FileNotFoundError")


def test_a_socket_is_needed_where_the_contract_demands_tokens_of_a_real_tee() -> None:
    with pytest.raises(ContractInvalid) as refused:
        tokens_from_options((DEMANDED,), None, lambda: AT, simulated=False)
    assert refused.value.expected == "--tee-socket PATH, for 1 tokens"


def test_sources_fit_the_kind_of_tee() -> None:
    path = Path("/run/s")
    for simulated, kind in ((False, SocketTokens), (True, SimulatedTokens)):
        found = tokens_from_options((DEMANDED,), path, lambda: AT, simulated=simulated)
        assert isinstance(found, kind)
        assert tokens_from_options((), path, lambda: AT, simulated=simulated) is None


def test_a_simulated_token_expires() -> None:
    shown = SimulatedTokens((DEMANDED,), lambda: AT - timedelta(hours=2)).tokens(REPORT_DATA)
    with pytest.raises(Exception, match="not valid at this time"):
        verify(shown)
