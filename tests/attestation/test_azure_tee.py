"""Azure's guests against a virtual TPM, and a service for TD quotes, that behave and misbehave."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from coterie.attestation.appraiser import assess
from coterie.attestation.collateral_options import td_quotes_from_options
from coterie.attestation.evidence import parse_evidence
from coterie.attestation.policy import MeasurementIn, ReportDataIs
from coterie.attestation.quote import MAX_QUOTE_BYTES
from coterie.attestation.tee.azure import AzureTee
from coterie.attestation.tee.base import Tee
from coterie.attestation.tee.by_kind import open_tee, root_for
from coterie.attestation.tee.simulated.azure import SimulatedAzureTee, SimulatedVm
from coterie.attestation.tee.td_quotes import MAX_ANSWER_BYTES, TdQuoteService
from coterie.attestation.vtpm.contracted import extended
from coterie.attestation.vtpm.quote import VtpmQuote
from coterie.errors import ContractInvalid, EnvironmentUnfit
from coterie.kinds import TeeKind
from tests.attestation.snp.forgeries import HONEST
from tests.attestation.snp.test_snp_tee import Amd
from tests.attestation.vtpm.devices import TD_REPORT, Vtpm, nv_index
from tests.attestation.vtpm.forgeries import AT, DATA, ISSUED, PCRS, SNP, TDX
from tests.attestation.vtpm.software import Software, software_tpm


class Quotes:
    """The platform's service, without a network."""

    def __init__(self, quote: bytes = TDX.hardware) -> None:
        self._quote = quote
        self.asked: list[bytes] = []

    def quote(self, td_report: bytes) -> bytes:
        self.asked.append(td_report)
        return self._quote


def snp(device: Vtpm, endorsements: Amd | None = None) -> AzureTee:
    return AzureTee("azure-snp", pcrs=PCRS, device=device, endorsements=endorsements or Amd())


def test_evidence_above_snp_is_whole() -> None:
    amd = Amd()
    tee = snp(Vtpm(SNP), amd)
    assert tee.quote(DATA) == SNP.evidence(DATA, PCRS)
    assert (tee.kind, tee.describe().kind, tee.describe().measurement) == (
        *("azure-snp", "azure-snp"),
        None,
    )
    tee.quote(bytes(64))
    assert len(amd.asked) == 2  # the signing key's certificate and its CA's, once


def test_evidence_above_tdx_has_the_services_quote() -> None:
    quotes = Quotes(TDX.hardware + bytes(100))
    tee = AzureTee("azure-tdx", pcrs=PCRS, device=Vtpm(TDX), td_quotes=quotes)
    assert tee.quote(DATA) == TDX.evidence(DATA, PCRS)
    tee.quote(bytes(64))
    assert quotes.asked == [TD_REPORT]


def test_pcrs_that_change_meanwhile_are_quoted_again() -> None:
    device = Vtpm(SNP, extended=[b"\1" * 32, b"\2" * 32])
    assert snp(device).quote(DATA) == SNP.evidence(DATA, PCRS)
    assert device.extended == []
    with pytest.raises(EnvironmentUnfit, match="PCRs changed 5 times") as refused:
        snp(Vtpm(SNP, extended=[bytes((i,)) * 32 for i in range(9)])).quote(DATA)
    assert refused.value.seen == "PCRs 4, 7, 11"


def test_all_pcrs_are_read_though_a_tpm_gives_eight_at_once() -> None:
    tee = AzureTee("azure-snp", pcrs=tuple(range(24)), device=Vtpm(SNP), endorsements=Amd())
    quote = parse_evidence(tee.quote(DATA))
    assert isinstance(quote, VtpmQuote)
    assert [number for number, _ in quote.pcrs] == list(range(24))


BROKEN = nv_index(SNP)[:-1] + b"!"
REFUSED: list[tuple[str, Callable[[], Tee], str]] = [
    ("a guest above TDX", lambda: snp(Vtpm(TDX)), "another kind than the contract demands"),
    ("no report", lambda: snp(Vtpm(SNP, b"nothing")), "the HCL report is malformed"),
    ("data that are not bound", lambda: snp(Vtpm(replace(SNP, bound=bytes(64)))), "is not over these runtime data"),
    ("data that are broken", lambda: snp(Vtpm(SNP, BROKEN)), "runtime data are malformed"),
    ("a TPM with another key", lambda: snp(Vtpm(replace(SNP, signer="another vtpm"))), "not signed by the key"),
    (
        "no certificates",
        lambda: AzureTee("azure-snp", pcrs=PCRS, device=Vtpm(SNP)),
        "certificates of this guest's VCEK are not all here",
    ),
    ("no service", lambda: AzureTee("azure-tdx", pcrs=PCRS, device=Vtpm(TDX)), "cannot make TD quotes itself"),
    (
        "a quote of another machine",
        lambda: AzureTee(
            "azure-tdx",
            pcrs=PCRS,
            device=Vtpm(TDX),
            td_quotes=Quotes(replace(TDX, key="another vtpm").hardware),
        ),
        "is not over these runtime data",
    ),
    (
        "no quote",
        lambda: AzureTee("azure-tdx", pcrs=PCRS, device=Vtpm(TDX), td_quotes=Quotes(b"quote")),
        "the quote is malformed",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("why", "tee", "said"), REFUSED, ids=[row[0] for row in REFUSED])
def test_what_peers_would_refuse_is_told_on_the_machine_at_fault(
    why: str, tee: Callable[[], Tee], said: str
) -> None:
    assert why
    with pytest.raises(EnvironmentUnfit, match=said) as refused:
        tee().quote(DATA)
    assert refused.value.remedy


def test_a_machine_without_a_tpm_is_told(tmp_path: Path) -> None:
    for kind in ("azure-snp", "azure-tdx"):
        tee = open_tee(kind, root=tmp_path, pcrs=PCRS)
        assert tee.kind == kind
        with pytest.raises(EnvironmentUnfit, match="the TPM failed to read an NV index"):
            tee.quote(DATA)


@pytest.mark.parametrize("tdx", [False, True])
def test_the_simulation_quotes_the_contracts_pcrs_and_the_packages(tdx: bool) -> None:
    kind = "simulated-azure-tdx" if tdx else "simulated-azure-snp"
    tee = SimulatedAzureTee(bytes(32), vm=SimulatedVm(tdx=tdx), pcrs=(7,))
    quote = parse_evidence(tee.quote(DATA))
    assert isinstance(quote, VtpmQuote)
    assert (quote.kind, tee.kind) == (kind, kind)
    assert dict(quote.pcrs)[7] == bytes(32)
    assert [number for number, _ in quote.pcrs] == [7, 11]
    assert tee.describe().measurement == "00" * 32
    with pytest.raises(ValueError, match="32 bytes"):
        SimulatedAzureTee(b"")


class OfSoftware(SimulatedVm):
    """A machine whose paravisor names the key of a software TPM."""

    software: Software

    @cached_property
    def modulus(self) -> int:
        return self.software.key().public_numbers().n


@pytest.mark.system
def test_a_software_tpm_above_simulated_hardware_gives_evidence_that_is_accepted(
    tmp_path: Path,
) -> None:
    with software_tpm(tmp_path) as software:
        software.make_key()
        vm = type("Of", (OfSoftware,), {"software": software})()
        assert isinstance(vm, SimulatedVm)
        software.write_nv(nv_index(vm))
        software.tool("tpm2_pcrextend", f"11:sha256={'ab' * 32}")
        tee = AzureTee("azure-snp", pcrs=PCRS, device=software, endorsements=Amd())
        evidence = tee.quote(DATA)
    kind: TeeKind = "simulated-azure-snp"
    outcome = assess(
        evidence,
        HONEST.issue(ISSUED),
        kind=kind,
        root=root_for(kind),
        policies=(MeasurementIn("pcr11", (extended(b"\xab" * 32).hex(),)), ReportDataIs(DATA)),
        at=AT,
    )
    assert outcome.refusal is None


Answer = Callable[[BaseHTTPRequestHandler, bytes], None]


def say(status: int, body: bytes, handler: BaseHTTPRequestHandler, _: bytes) -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def text_of(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def honest(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    """What Azure's service does, as far as its guests see."""
    assert (handler.path, handler.headers["Content-Type"]) == ("/acc/tdquote", "application/json")
    assert json.loads(body) == {"report": text_of(TD_REPORT)}
    say(200, json.dumps({"quote": text_of(TDX.hardware)}).encode(), handler, body)


@contextmanager
def service(answer: Answer) -> Iterator[str]:
    """A service on this machine; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            answer(self, self.rfile.read(int(self.headers["Content-Length"])))

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/acc/tdquote"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_service_is_asked_as_it_wants() -> None:
    with service(honest) as url:
        tee = open_tee("azure-tdx", pcrs=PCRS, td_quotes=td_quotes_from_options("azure-tdx", url))
        assert tee.kind == "azure-tdx"
        assert TdQuoteService(url).quote(TD_REPORT) == TDX.hardware


def test_padding_of_base64_is_read() -> None:
    padded = base64.urlsafe_b64encode(b"q").decode()
    assert padded.endswith("==")
    with service(partial(say, 200, json.dumps({"quote": padded}).encode())) as url:
        assert TdQuoteService(url).quote(TD_REPORT) == b"q"


ANSWERS = {
    "an error": (partial(say, 500, b""), "HTTP status 500"),
    "a redirect": (partial(say, 302, b""), "HTTP status 302"),
    "no JSON": (partial(say, 200, b"quote"), "no quote"),
    "no object": (partial(say, 200, b"[]"), "no quote"),
    "no quote": (partial(say, 200, b"{}"), "no quote"),
    "a number": (partial(say, 200, b'{"quote": 1}'), "no quote"),
    "no base64": (partial(say, 200, b'{"quote": "??"}'), "no quote"),
    "too much": (partial(say, 200, bytes(MAX_ANSWER_BYTES + 1)), "more than"),
    "deep JSON": (partial(say, 200, b"[" * 100_000), "no quote"),
}


@pytest.mark.parametrize("why", ANSWERS)
def test_other_answers_are_told(why: str) -> None:
    answer, seen = ANSWERS[why]
    with service(answer) as url, pytest.raises(EnvironmentUnfit) as told:
        TdQuoteService(url).quote(TD_REPORT)
    assert told.value.seen.startswith(seen)
    assert "--td-quote-url" in told.value.remedy


def test_a_service_that_is_away_or_silent_is_told() -> None:
    with service(honest) as url:
        pass
    with pytest.raises(EnvironmentUnfit, match="gives no answer to /acc/tdquote"):
        TdQuoteService(url).quote(TD_REPORT)
    asked = threading.Event()

    def silent(_: BaseHTTPRequestHandler, __: bytes) -> None:
        asked.wait(20)

    with service(silent) as url:
        with pytest.raises(EnvironmentUnfit, match="gives no answer to /acc/tdquote") as told:
            TdQuoteService(url, seconds=0.1).quote(TD_REPORT)
        asked.set()
    assert told.value.seen.startswith("TimeoutError")


@pytest.mark.parametrize(
    "url",
    [
        *("https://169.254.1.1/q", "http://quotes.example/q", "http://10.0.0.1/q", "ftp://127.0.0.1/q"),
        *("http://127.0.0.1:99999/q", "http://[::1/q", "http://127.0.0.1/q?a=b", "http://u@127.0.0.1/q"),
        *("http://8.8.8.8/q", "127.0.0.1", ""),
    ],
)  # fmt: skip
def test_only_an_address_of_the_own_link_is_asked(url: str) -> None:
    with pytest.raises(EnvironmentUnfit, match="is not usable"):
        TdQuoteService(url)


@pytest.mark.parametrize(
    "url", ["http://169.254.1.1/q", "http://127.0.0.1:80", "http://[fe80::1]/q"]
)
def test_addresses_of_the_own_link_are_taken(url: str) -> None:
    assert td_quotes_from_options("azure-tdx", url) is not None


def test_the_option_is_for_one_kind() -> None:
    assert td_quotes_from_options("azure-snp", None) is None
    with pytest.raises(ContractInvalid, match="--td-quote-url has no meaning"):
        td_quotes_from_options("azure-snp", "http://127.0.0.1/q")


def test_the_bound_holds_the_largest_quote() -> None:
    assert len(json.dumps({"quote": text_of(bytes(MAX_QUOTE_BYTES))})) < MAX_ANSWER_BYTES
