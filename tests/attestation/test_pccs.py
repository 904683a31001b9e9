"""The PCCS client: Intel's API v4 over verified https, bounded, and no other protocol."""

from __future__ import annotations

import ssl
import threading
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from coterie.attestation.pccs import (
    INTEL_PCS_URL,
    INTEL_ROOT_CRL_URL,
    MAX_ANSWER_BYTES,
    TIMEOUT_SECONDS,
    Answer,
    PccsCollateral,
    UrllibHttps,
)
from coterie.attestation.pem import encode
from coterie.attestation.quote import parse_quote
from coterie.attestation.tee.simulated.pki import SimulatedPki
from coterie.attestation.tee.simulated.quotes import EnclaveFields, sgx_quote
from coterie.errors import EnvironmentUnfit, EvidenceRefused
from tests.loopback_certificate import write_certificate

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
PKI = SimulatedPki()
QUOTE = parse_quote(sgx_quote(PKI, EnclaveFields(mrenclave=b"\1" * 32)))
NEW = PKI.issue(AT - DAY)


@dataclass
class Service:
    """Answers like Intel's PCS v4 with the simulated vendor's collateral."""

    base: str = "https://pccs.example"
    hex_crls: bool = False
    change: Mapping[str, Answer | Exception] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def get(self, url: str, seconds: float = 0.0) -> Answer:
        assert 0 < seconds <= TIMEOUT_SECONDS
        self.asked.append(url)
        answers = self.answers()
        assert url in answers
        answer = answers[url]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def answers(self) -> dict[str, Answer | Exception]:
        sgx = f"{self.base}/sgx/certification/v4"
        tcb = f'{{"tcbInfo":{NEW.tcb_info},"signature":"{NEW.tcb_info_signature.hex()}"}}'
        identity = (
            f'{{"enclaveIdentity":{NEW.qe_identity},'
            f'"signature":"{NEW.qe_identity_signature.hex()}"}}'
        )
        quoted = urllib.parse.quote(NEW.tcb_info_issuer_chain)
        crl_chain = urllib.parse.quote(NEW.pck_crl_issuer_chain)
        root_crl = Answer({}, self.crl(NEW.root_ca_crl))
        return {
            f"{sgx}/tcb?fmspc=C07E51000000": Answer(
                {"tcb-info-issuer-chain": quoted}, tcb.encode()
            ),
            f"{sgx}/qe/identity": Answer(
                {"sgx-enclave-identity-issuer-chain": quoted}, identity.encode()
            ),
            f"{sgx}/pckcrl?ca=platform&encoding=der": Answer(
                {"sgx-pck-crl-issuer-chain": crl_chain}, self.crl(NEW.pck_crl)
            ),
            f"{sgx}/rootcacrl": root_crl,
            INTEL_ROOT_CRL_URL: root_crl,
            **{f"{sgx}/{path}": answer for path, answer in self.change.items()},
        }

    def crl(self, der: bytes) -> bytes:
        return der.hex().encode() + b"\n" if self.hex_crls else der


@pytest.mark.parametrize("hex_crls", [False, True])
@pytest.mark.parametrize(
    "url", ["https://pccs.example", "https://pccs.example/sgx/certification/v4/"]
)
def test_a_pccs_delivers_collateral(url: str, hex_crls: bool) -> None:
    service = Service(hex_crls=hex_crls)
    assert PccsCollateral(url, http=service).collateral_for(QUOTE, AT) == NEW
    assert len(service.asked) == 4


def test_intel_itself_serves_the_root_crl_elsewhere() -> None:
    service = Service(base=INTEL_PCS_URL)
    assert PccsCollateral(INTEL_PCS_URL, http=service).collateral_for(QUOTE, AT) == NEW
    assert INTEL_ROOT_CRL_URL in service.asked


CHAIN = urllib.parse.quote(NEW.tcb_info_issuer_chain)


@pytest.mark.parametrize(
    "answer",
    [
        Answer({}, b""),
        Answer({"sgx-enclave-identity-issuer-chain": CHAIN}, b""),
        Answer({"sgx-enclave-identity-issuer-chain": CHAIN}, b"\xff"),
        Answer({"sgx-enclave-identity-issuer-chain": CHAIN}, b'{"enclaveIdentity":{}}'),
        Answer(
            {"sgx-enclave-identity-issuer-chain": CHAIN}, b'{"enclaveIdentity":' + b"[" * 50_000
        ),
        Answer(
            {"sgx-enclave-identity-issuer-chain": CHAIN},
            b'{"signature":"' + b"0" * 128 + b'","enclaveIdentity":{}}',
        ),
        Answer(
            {"sgx-enclave-identity-issuer-chain": "no pem"},
            b'{"enclaveIdentity":{},"signature":"' + b"0" * 128 + b'"}',
        ),
    ],
)
def test_malformed_answers_are_refused(answer: Answer) -> None:
    service = Service(change={"qe/identity": answer})
    with pytest.raises(EvidenceRefused) as refusal:
        PccsCollateral("https://pccs.example", http=service).collateral_for(QUOTE, AT)
    assert refusal.value.failed_check == "collateral_format"


def test_a_chain_of_a_version_that_the_library_does_not_know_is_refused() -> None:
    """Its exception for that is no ValueError."""
    der = PKI.trust_root.certificate.replace(
        bytes.fromhex("a003020102"), bytes.fromhex("a003020107"), 1
    )
    answer = Answer(
        {"sgx-enclave-identity-issuer-chain": urllib.parse.quote(encode(der))},
        b'{"enclaveIdentity":{},"signature":"' + b"0" * 128 + b'"}',
    )
    with pytest.raises(EvidenceRefused) as refusal:
        PccsCollateral(
            "https://pccs.example", http=Service(change={"qe/identity": answer})
        ).collateral_for(QUOTE, AT)
    assert refusal.value.failed_check == "collateral_format"


@pytest.mark.parametrize(
    "url",
    [
        "http://pccs.example",
        "ftp://pccs.example",
        "file:///etc/passwd",
        "pccs",
        "https://",
        "https://[::1",
        "https://pccs.example:port",
        "https://pccs.example:0",
    ],
)
def test_only_https_is_spoken(url: str) -> None:
    with pytest.raises(EnvironmentUnfit, match="not usable"):
        PccsCollateral(url)
    with pytest.raises(EnvironmentUnfit, match="not usable"):
        UrllibHttps().get(url)


def test_tls_that_verifies_nothing_is_a_defect() -> None:
    context = ssl.create_default_context()
    context.check_hostname = False
    with pytest.raises(ValueError, match="verify"):
        UrllibHttps(context)


class Handler(BaseHTTPRequestHandler):
    """Paths that say what they do."""

    def do_GET(self) -> None:
        statuses = {"/moved": 302, "/missing": 404, "/uncached": 461, "/broken": 503}
        status = statuses.get(self.path, 200)
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/good")
        self.send_header("Some-Header", "a%20value")
        self.end_headers()
        size = MAX_ANSWER_BYTES + 1 if self.path == "/endless" else 4
        self.wfile.write(b"x" * size)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextmanager
def https_server(folder: Path) -> Iterator[tuple[str, ssl.SSLContext]]:
    """A real https server on loopback; yields its address and a context that trusts it."""
    pem, certificate = write_certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    trusting = ssl.create_default_context(cafile=certificate)
    try:
        yield f"https://127.0.0.1:{server.server_port}", trusting
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_https_is_verified_and_bounded(tmp_path: Path) -> None:
    with https_server(tmp_path) as (url, trusting):
        client = UrllibHttps(trusting)
        answer = client.get(f"{url}/good")
        assert answer.body == b"xxxx"
        assert answer.headers["some-header"] == "a%20value"
        for path, seen, remedy in (
            ("moved", "302", "a redirect"),
            ("missing", "404", "register it there"),
            ("uncached", "461", "register it there"),
            ("broken", "503", "the service's own fault"),
            ("endless", "more than", "check --pccs-url"),
        ):
            with pytest.raises(EnvironmentUnfit) as failure:
                client.get(f"{url}/{path}")
            assert seen in failure.value.seen
            assert remedy in failure.value.remedy
        with pytest.raises(EnvironmentUnfit) as failure:
            UrllibHttps().get(f"{url}/good")
        assert "certificate verify failed" in failure.value.seen
    with pytest.raises(EnvironmentUnfit):
        client.get(f"{url}/good")


def test_a_service_is_checked_by_what_it_has_for_all() -> None:
    service = Service()
    PccsCollateral(service.base, http=service).check()
    identity = "https://pccs.example/sgx/certification/v4/qe/identity"
    assert service.asked == [identity]
    page = Service(change={"qe/identity": Answer({}, b"<html>Please log in</html>")})
    with pytest.raises(EvidenceRefused, match="malformed"):
        PccsCollateral(page.base, http=page).check()
