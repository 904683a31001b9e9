"""Times the mutual attested handshake on loopback, and the verification of quotes.

    python benchmarks/handshake.py [--count N]

Prints one JSON object: medians and 95th percentiles in milliseconds, and the machine. A handshake
is everything from the TCP connection to both acceptances: TLS 1.3 with both certificates judged,
a fresh quote of each side, vouchers. The simulated TEE makes a quote in software in well under a
millisecond; a hardware quoting enclave takes longer, and its time comes on top, once per side.
Verification is timed with the vendor's certificate chains already parsed (as in a running node) and,
as ``first``, without. Real vectors are timed where they lie beside the checkout.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from coterie.address import Address
from coterie.attestation.appraiser import assess
from coterie.attestation.collateral import Collateral
from coterie.attestation.policy import TcbStatusIn
from coterie.attestation.quote import parse_quote
from coterie.attestation.tee.by_kind import root_for
from coterie.attestation.tee.simulated.enclave import SimulatedTee
from coterie.attestation.tee.simulated.pki import SimulatedPki
from coterie.contract import Contract, parse_contract
from coterie.contract.signatures import public_key_text
from coterie.ratls.handshake import accept, dial
from coterie.ratls.trust import TrustContext, make_trust
from coterie.ratls.voucher import PartyKeyVouchers

VECTORS = Path(__file__).parents[2] / "shared" / "attestation-vectors"
KEYS = {name: Ed25519PrivateKey.generate() for name in "ab"}
CONTRACT = """
format = 1
name = "benchmark"
mode = "hfl"
parties = [{{name = "a", key = "{a}"}}, {{name = "b", key = "{b}"}}]
nodes = [
  {{name = "ps", role = "ps", party = "a"}},
  {{name = "w1", role = "worker", party = "a"}},
  {{name = "w2", role = "worker", party = "b"}},
]
[trust]
tee = "simulated"
[trust.roles.ps]
measurement = "own"
accepted_tcb_statuses = ["UpToDate"]
[trust.roles.worker]
measurement = "own"
accepted_tcb_statuses = ["UpToDate"]
"""


def now() -> datetime:
    """The time now, UTC."""
    return datetime.now(UTC)


def contract() -> Contract:
    """A contract of two parties and three nodes."""
    keys = {name: public_key_text(key) for name, key in KEYS.items()}
    return parse_contract(CONTRACT.format(**keys).encode(), "benchmark")


def trust(agreed: Contract, node: str, party: str) -> TrustContext:
    """A node's trust."""
    vouchers = PartyKeyVouchers(KEYS[party], clock=now)
    return make_trust(agreed, node, SimulatedTee(bytes(range(32))), vouchers, now)


def handshakes(count: int) -> list[float]:
    """Seconds of single handshakes, one after the other, as the dialler sees them."""
    agreed = contract()
    dialler, listener = trust(agreed, "w2", "b"), trust(agreed, "ps", "a")
    seconds = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = Address(*server.getsockname())

        def serve() -> None:
            for _ in range(count):
                accept(server.accept()[0], listener, lambda _: 1)

        thread = threading.Thread(target=serve)
        thread.start()
        for _ in range(count):
            start = time.perf_counter()
            dial(address, "ps", dialler)
            seconds.append(time.perf_counter() - start)
        thread.join()
    return seconds


def simulated_verifications(count: int) -> list[float]:
    """Seconds of single verifications, each of another quote."""
    tee, at = SimulatedTee(bytes(range(32))), now()
    collateral = SimulatedPki().collateral(at)
    quotes = [tee.quote(secrets.token_bytes(64)) for _ in range(count)]
    return [timed(lambda quote=quote: verify(quote, collateral, at)) for quote in quotes]  # type: ignore[misc]


def real_verifications(name: str, valid_at: int, count: int) -> list[float]:
    """Seconds of single verifications of a real quote."""
    quote = (VECTORS / name / "quote.bin").read_bytes()
    collateral = Collateral.from_json((VECTORS / name / "collateral.json").read_bytes())
    at = datetime.fromtimestamp(valid_at, UTC)
    return [timed(lambda: verify(quote, collateral, at)) for _ in range(count)]


def verify(quote: bytes, collateral: Collateral, at: datetime) -> None:
    """One verification, from the quote's bytes to the verdict on its status."""
    parsed = parse_quote(quote)
    kind = parsed.kind
    statuses = TcbStatusIn(("UpToDate", "SWHardeningNeeded", "OutOfDate", "ConfigurationNeeded"))
    assess(parsed, collateral, kind=kind, root=root_for(kind), policies=(statuses,), at=at)


def timed(action: Callable[[], None]) -> float:
    """Seconds that an action takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def summary(seconds: list[float]) -> dict[str, float | int]:
    """Milliseconds: the first one, then median and 95th percentile of the others."""
    first, *others = seconds
    ranked = sorted(others)
    return {
        "count": len(ranked),
        "p50_ms": round(1e3 * ranked[len(ranked) // 2], 3),
        "p95_ms": round(1e3 * ranked[len(ranked) * 95 // 100], 3),
        "first_ms": round(1e3 * first, 3),
    }


def machine() -> dict[str, object]:
    """What was measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if sys.platform == "linux" else []
    model = next((line.split(":", 1)[1].strip() for line in lines if "model name" in line), "")
    packages = ("cryptography", "pyOpenSSL", "dcap-qvl")
    return {
        "processor": model or platform.processor(),
        "cpus": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description="Times handshakes and verifications.")
    parser.add_argument("--count", type=int, default=200, help="of each kind")
    count = parser.parse_args().count + 1
    spent = time.process_time()
    seconds = handshakes(count)
    spent = time.process_time() - spent
    result: dict[str, object] = {
        "machine": machine(),
        "mutual_handshake": {
            **summary(seconds),
            "processor_ms": round(1e3 * spent / count, 3),  # of both sides
        },
        "verification_simulated": summary(simulated_verifications(count)),
    }
    if VECTORS.is_dir():
        manifest = json.loads((VECTORS / "manifest.json").read_text())
        for entry in manifest["vectors"]:
            if entry["expected_error"] is None:
                seconds = real_verifications(entry["name"], entry["valid_at"], count)
                result[f"verification_{entry['name']}"] = summary(seconds)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
