"""Collateral from a provisioning certificate caching service (PCCS) or Intel's own PCS, over https.

The service is not trusted: Intel signs what it delivers, and the appraiser verifies it. Still, only
https is used, answers are bounded, and redirects are refused. Source: Intel PCS API v4.
"""

from __future__ import annotations

import json
import re
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from http.client import HTTPException, HTTPResponse
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from coterie.attestation.authentic import AnyQuote
from coterie.attestation.collateral import Collateral
from coterie.attestation.pem import encode
from coterie.attestation.platforms import Platform
from coterie.attestation.verdict import collateral_refused
from coterie.errors import EnvironmentUnfit, EvidenceRefused
from coterie.unreadable import UNREADABLE

INTEL_PCS_URL = "https://api.trustedservices.intel.com"
INTEL_ROOT_CRL_URL = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"
MAX_ANSWER_BYTES = 1 << 18
TIMEOUT_SECONDS = 20.0  # for all requests of one platform

_TCB_CHAIN = "TCB-Info-Issuer-Chain"
_QE_CHAIN = "SGX-Enclave-Identity-Issuer-Chain"
_CRL_CHAIN = "SGX-PCK-CRL-Issuer-Chain"
_NOT_FOUND, _NOT_CACHED, _SERVERS_FAULT = 404, 461, 500  # 461 is specific to PCCS: not in its cache


@dataclass(frozen=True)
class Answer:
    """An https answer with status 200.

    Attributes:
        headers: Header fields; names in lower case.
        body: The body, at most ``MAX_ANSWER_BYTES``.
    """

    headers: Mapping[str, str]
    body: bytes


class HttpsGet(Protocol):
    """The transport."""

    def get(self, url: str, seconds: float = TIMEOUT_SECONDS) -> Answer:
        """Gets a resource within ``seconds``.

        Raises:
            EnvironmentUnfit: It cannot be had.
        """
        ...


class PccsCollateral:
    """Collateral from a PCCS.

    Args:
        url: Its address, https only; a path ``/sgx/certification/v4`` at its end is ignored.
        http: The transport; TLS with the system's CA certificates unless given.

    Raises:
        EnvironmentUnfit: The address is not https.
    """

    def __init__(self, url: str, *, http: HttpsGet | None = None) -> None:
        self._base = re.sub(r"/(sgx|tdx)/certification/v4/?$", "", url.rstrip("/"))
        require_https(self._base)
        self._http = http or UrllibHttps()

    def collateral_for(self, quote: AnyQuote, at: datetime) -> Collateral:  # noqa: ARG002 - protocol
        """Fetches the current collateral of the quote's platform.

        Raises:
            EvidenceRefused: The quote is SNP evidence (check ``collateral_missing``).
            EnvironmentUnfit: The service cannot be reached or does not have it.
        """
        platform = quote.platform()
        if not isinstance(platform, Platform):
            raise collateral_refused(
                "collateral_missing",
                "a PCCS has no collateral of AMD's platforms",
                expected="a DCAP quote, or --kds-url",
                seen="SNP evidence",
            )
        return self.fetch(platform)

    def check(self) -> None:
        """Checks that the service speaks the protocol, with a resource common to all platforms.

        Raises:
            EnvironmentUnfit: The service cannot be reached or has a fault.
            EvidenceRefused: The answer is of another service (check ``collateral_format``).
        """
        url = f"{self._base}/sgx/certification/v4/qe/identity"
        answer = self._http.get(url, TIMEOUT_SECONDS)
        _signed_part(answer.body, "enclaveIdentity")

    def fetch(self, platform: Platform) -> Collateral:
        """Fetches the current collateral of a platform.

        Raises:
            EnvironmentUnfit: The service cannot be reached or does not have it.
            EvidenceRefused: An answer is malformed (check ``collateral_format``).
        """
        until = time.monotonic() + TIMEOUT_SECONDS

        def get(url: str) -> Answer:
            return self._http.get(url, max(0.1, until - time.monotonic()))

        base = self._base
        tcb = get(f"{base}/{platform.tee}/certification/v4/tcb?fmspc={platform.fmspc.upper()}")
        identity = get(f"{base}/{platform.tee}/certification/v4/qe/identity")
        crl = get(f"{base}/sgx/certification/v4/pckcrl?ca={platform.ca}&encoding=der")
        intel = base == INTEL_PCS_URL
        root_crl = get(INTEL_ROOT_CRL_URL if intel else f"{base}/sgx/certification/v4/rootcacrl")
        tcb_info, tcb_signature = _signed_part(tcb.body, "tcbInfo")
        qe_identity, qe_signature = _signed_part(identity.body, "enclaveIdentity")
        return Collateral(
            pck_crl_issuer_chain=_chain(crl, _CRL_CHAIN),
            root_ca_crl=_crl(root_crl.body),
            pck_crl=_crl(crl.body),
            tcb_info_issuer_chain=_chain(tcb, _TCB_CHAIN),
            tcb_info=tcb_info,
            tcb_info_signature=tcb_signature,
            qe_identity_issuer_chain=_chain(identity, _QE_CHAIN),
            qe_identity=qe_identity,
            qe_identity_signature=qe_signature,
        )


class UrllibHttps:
    """https by the standard library, TLS 1.2 or newer, certificates verified.

    Args:
        context: TLS settings; the system's CA certificates unless given.
    """

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        context = context or ssl.create_default_context()
        if context.verify_mode != ssl.CERT_REQUIRED or not context.check_hostname:
            raise ValueError("the TLS context must verify certificates and host names")
        # Built from single handlers, without those for plain http and redirects.
        self._opener = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.ProxyHandler(),
            urllib.request.HTTPSHandler(context=context),
            urllib.request.HTTPErrorProcessor(),
            urllib.request.HTTPDefaultErrorHandler(),
        ):
            self._opener.add_handler(handler)

    def get(self, url: str, seconds: float = TIMEOUT_SECONDS) -> Answer:
        """Gets a resource; https only, no redirects, bounded."""
        require_https(url)
        request = urllib.request.Request(url, headers={"Accept": "*/*"})  # noqa: S310 - https
        try:
            with self._opener.open(request, timeout=seconds) as response:
                body = _read(response, seconds)
                headers = {name.lower(): value for name, value in response.headers.items()}
        except urllib.error.HTTPError as error:
            error.close()
            raise _unavailable(url, f"HTTP status {error.code}", _remedy(error.code)) from error
        except (OSError, HTTPException, ValueError) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            raise _unavailable(url, str(reason)[:200]) from error
        if len(body) > MAX_ANSWER_BYTES:
            raise _unavailable(url, f"more than {MAX_ANSWER_BYTES} bytes")
        return Answer(headers, body)


def _read(response: HTTPResponse, seconds: float) -> bytes:
    """Reads a body up to one byte more than ``MAX_ANSWER_BYTES``; gives up on a slow server."""
    deadline = time.monotonic() + seconds
    body = b""
    while len(body) <= MAX_ANSWER_BYTES and (
        piece := response.read1(MAX_ANSWER_BYTES + 1 - len(body))
    ):
        body += piece
        if time.monotonic() > deadline:
            raise TimeoutError(f"no whole answer within {seconds:.0f} s")
    return body


def require_https(url: str) -> None:
    """Refuses addresses that are not https.

    Raises:
        EnvironmentUnfit: It is another kind of address.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        usable = parts.scheme == "https" and bool(parts.hostname) and parts.port != 0
    except ValueError:  # unclosed brackets, or an invalid port
        usable = False
    if not usable:
        raise EnvironmentUnfit(
            "the address of a service for collateral is not usable",
            expected="https://HOST[:PORT]",
            seen=url[:200],
            remedy="give the service's address, such as https://pccs.example:8081; it needs a TLS certificate",
        )


def _signed_part(body: bytes, key: str) -> tuple[str, bytes]:
    """Cuts the signed characters and the signature out of an answer, byte for byte."""
    try:
        text = body.decode("ascii")
        start = re.match(rf'\s*\{{\s*"{key}"\s*:\s*', text)
        begin = start.end() if start else 0
        _, end = json.JSONDecoder().raw_decode(text, begin)
    except (ValueError, RecursionError) as error:
        raise _malformed(key, str(error)[:200]) from error
    rest = re.fullmatch(r'\s*,\s*"signature"\s*:\s*"([0-9a-fA-F]{128})"\s*\}\s*', text[end:])
    if start is None or rest is None:
        raise _malformed(key, "an object without it, or without its signature")
    return text[begin:end], bytes.fromhex(rest[1])


def _chain(answer: Answer, header: str) -> str:
    """The issuer chain in a header (URL-encoded PEM), brought into canonical PEM."""
    value = answer.headers.get(header.lower())
    if value is None:
        raise _malformed(header, "no such header")
    try:
        certificates = x509.load_pem_x509_certificates(urllib.parse.unquote(value).encode())
    except UNREADABLE as error:
        raise _malformed(header, "no PEM") from error
    return "".join(encode(certificate.public_bytes(Encoding.DER)) for certificate in certificates)


def _crl(body: bytes) -> bytes:
    """A CRL in DER; some services answer with its hex digits."""
    text = body.strip()
    if re.fullmatch(rb"(?:[0-9a-fA-F]{2})+", text):
        return bytes.fromhex(text.decode())
    return body


def _malformed(what: str, seen: str) -> EvidenceRefused:
    return EvidenceRefused(
        "collateral_format",
        f"the PCCS answered with a malformed {what}",
        expected="an answer of Intel PCS API v4",
        seen=seen,
        remedy="check --pccs-url; the service must speak version 4",
    )


def _remedy(status: int) -> str:
    """The remedy for an HTTP status; most are faults of the service's machine, not of this one."""
    if status in (_NOT_FOUND, _NOT_CACHED):
        return (
            "the service does not know this platform: register it there (Intel's PCKIDRetrievalTool, "
            "on the platform itself), or check that --pccs-url is a PCCS with API version 4"
        )
    if status >= _SERVERS_FAULT:
        return (
            "the service's own fault: see its log, its way to Intel and its API key; until it is mended "
            "use another --pccs-url, or a directory (`coterie attest fetch`, --collateral)"
        )
    return (
        "the service does not serve this: check that --pccs-url is a PCCS with API version 4, not a "
        "page, a login or a redirect"
    )


def _unavailable(
    url: str,
    seen: str,
    remedy: str = "check --pccs-url, the network, proxies (https_proxy, no_proxy) and that this "
    "machine trusts the service's certificate; or use a directory (--collateral)",
) -> EnvironmentUnfit:
    return EnvironmentUnfit(
        f"the PCCS did not deliver {urllib.parse.urlsplit(url).path}",
        expected="HTTP status 200 over verified TLS",
        seen=seen,
        remedy=remedy,
    )
