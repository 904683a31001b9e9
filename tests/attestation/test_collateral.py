"""Collateral: its JSON form, where it comes from, and that nothing older replaces anything."""

from __future__ import annotations

import itertools
import json
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dcap_qvl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coterie.attestation.appraiser import assess
from coterie.attestation.authentic import AnyQuote, Vetted
from coterie.attestation.clock import FlooredClock
from coterie.attestation.collateral import Collateral
from coterie.attestation.collateral_source import (
    CachedCollateral,
    DirectoryCollateral,
    SimulatedCollateral,
)
from coterie.attestation.json_collateral import (
    MAX_COLLATERAL_BYTES,
    MAX_CRL_BYTES,
    MAX_TEXT_CHARS,
    SIGNATURE_BYTES,
)
from coterie.attestation.lookups import LookUps
from coterie.attestation.platforms import Platform
from coterie.attestation.quote import parse_quote
from coterie.attestation.tee.simulated.pki import SimulatedPki
from coterie.attestation.tee.simulated.quotes import EnclaveFields, sgx_quote
from coterie.errors import EnvironmentUnfit, EvidenceRefused
from tests.conftest import REPOSITORY

VECTORS = REPOSITORY.parent / "shared" / "attestation-vectors"
AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
PKI = SimulatedPki()
QUOTE = parse_quote(sgx_quote(PKI, EnclaveFields(mrenclave=b"\1" * 32)))
PLATFORM = Platform("sgx", PKI.fmspc.hex(), "platform")
OLD, NEW = PKI.issue(AT - 10 * DAY), PKI.issue(AT - DAY)


def refused(text: str | bytes) -> str:
    with pytest.raises(EvidenceRefused) as refusal:
        Collateral.from_json(text)
    assert refusal.value.failed_check == "collateral_format"
    return refusal.value.seen


# --- the JSON form


def test_json_keeps_every_field() -> None:
    assert Collateral.from_json(NEW.to_json()) == NEW
    assert Collateral.from_json(NEW.to_json().encode()) == NEW


@pytest.mark.parametrize("name", [item.name for item in fields(Collateral)])
def test_json_without_a_field_is_refused(name: str) -> None:
    value = json.loads(NEW.to_json())
    del value[name]
    assert name in refused(json.dumps(value))


@pytest.mark.parametrize("name", [item.name for item in fields(Collateral)])
@pytest.mark.parametrize("wrong", [None, 1, [], {}, "\u00e9", "x" * (1 << 19)])
def test_json_with_a_wrong_value_is_refused(name: str, wrong: object) -> None:
    refused(json.dumps({**json.loads(NEW.to_json()), name: wrong}))


def test_json_with_more_fields_is_refused() -> None:
    assert "extra" in refused(json.dumps({**json.loads(NEW.to_json()), "extra": ""}))


@pytest.mark.parametrize("chain", [PKI.pck_chain, SimulatedPki(seed=b"a stranger").pck_chain, ""])
def test_the_chain_that_dcap_qvl_adds_counts_for_nothing(chain: str) -> None:
    text = json.dumps({**json.loads(NEW.to_json()), "pck_certificate_chain": chain})
    written = dcap_qvl.QuoteCollateralV3.from_json(text).to_json()
    assert json.loads(written)["pck_certificate_chain"] == chain
    collateral = Collateral.from_json(written)
    assert collateral == NEW
    outcome = assess(QUOTE, collateral, kind="simulated", root=PKI.trust_root, policies=(), at=AT)
    assert outcome.refusal is None


@pytest.mark.parametrize("wrong", [None, 1, [], {}])
def test_a_chain_that_is_no_text_is_refused(wrong: object) -> None:
    value = {**json.loads(NEW.to_json()), "pck_certificate_chain": wrong}
    assert refused(json.dumps(value)) == "something else"


@pytest.mark.parametrize("text", ["", "[]", "null", "{", "[" * 100_000, b"\xff\xfe"])
def test_no_json_object_is_refused(text: str | bytes) -> None:
    refused(text)


@pytest.mark.parametrize(
    "text",
    [
        b'{"tcb_info":[' + b"[]," * 300_000 + b"[]]}",
        b"[" + b"{}," * 300_000 + b"{}]",
        b"{" + b",".join(b'"%x":""' % i for i in range(90_000)) + b"}",
        b'{"tcb_info":' + b"[" * 500_000,
        b'{"' + b"\\" * 1_000_000,
        b'{"a"' * 250_000,
    ],
    ids=["lists", "objects", "texts", "depth", "escapes", "no end"],
)
def test_a_flood_of_values_costs_nothing(text: bytes) -> None:
    tracemalloc.start()
    try:
        refused(text)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * MAX_COLLATERAL_BYTES  # the text itself, once decoded


def test_too_large_json_is_refused() -> None:
    refused(" " * (MAX_COLLATERAL_BYTES + 1))


@pytest.mark.parametrize("text", [" ", b" "])
def test_too_large_json_is_not_even_parsed(text: str | bytes) -> None:
    assert refused(text * (MAX_COLLATERAL_BYTES + 1)) == f"{MAX_COLLATERAL_BYTES + 1} bytes"


@pytest.mark.parametrize("name", [item.name for item in fields(Collateral)])
def test_every_field_has_a_bound_of_its_own(name: str) -> None:
    """So has each object, whoever makes it: not only what comes as JSON."""
    text = not isinstance(getattr(NEW, name), bytes)
    if name.endswith("_signature"):
        sizes, good = (SIGNATURE_BYTES - 1, SIGNATURE_BYTES + 1, 0), SIGNATURE_BYTES
    else:
        good = MAX_TEXT_CHARS if text else MAX_CRL_BYTES
        sizes = (good + 1, 2 * good, 4 * good)

    def made(size: int) -> Collateral:
        return Collateral(**{**vars(NEW), name: "x" * size if text else bytes(size)})

    made(good)
    for size in sizes:
        with pytest.raises(EvidenceRefused, match=f"{name} is malformed") as refusal:
            made(size)
        assert refusal.value.failed_check == "collateral_format"
        assert refusal.value.seen.startswith(f"{size} ")


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_in_one_way(data: bytes) -> None:
    refused(data)


# --- newest parts win


def test_freshness_reads_all_dates() -> None:
    found = NEW.freshness()
    assert found.newest == AT - DAY
    assert found.expiry == AT + 29 * DAY


@pytest.mark.parametrize("part", ["tcb_info", "qe_identity", "root_ca_crl", "pck_crl"])
def test_collateral_runs_out_with_its_first_part(part: str) -> None:
    short = replace(PKI, statement_days=5, crl_days=5).issue(AT - DAY)
    mixed = Collateral(**{**vars(NEW), **{k: v for k, v in vars(short).items() if part in k}})
    assert mixed.freshness().expiry == AT + 4 * DAY


@pytest.mark.parametrize("part", ["tcb_info", "qe_identity", "root_ca_crl", "pck_crl"])
def test_no_honest_clock_is_earlier_than_the_newest_part(part: str) -> None:
    mixed = Collateral(**{**vars(OLD), **{k: v for k, v in vars(NEW).items() if part in k}})
    assert OLD.freshness().newest == AT - 10 * DAY
    assert mixed.freshness().newest == AT - DAY


def test_nothing_older_replaces_anything() -> None:
    assert NEW.renewed_by(OLD) == NEW
    assert OLD.renewed_by(NEW) == NEW


@pytest.mark.parametrize(
    "part", ["tcb_info", "qe_identity", "root_ca_crl", "pck_crl"], ids=lambda part: f"newer {part}"
)
def test_parts_are_compared_on_their_own(part: str) -> None:
    mixed = Collateral(**{**vars(OLD), **{k: v for k, v in vars(NEW).items() if part in k}})
    joined = OLD.renewed_by(mixed)
    assert joined == mixed
    assert NEW.renewed_by(mixed) == NEW


def test_a_lower_evaluation_number_is_older_whatever_its_date() -> None:
    rolled_back = replace(PKI, tcb_info_evaluation=16).issue(AT)
    held = replace(PKI, tcb_info_evaluation=17).issue(AT - DAY)
    joined = held.renewed_by(rolled_back)
    assert isinstance(joined, Collateral)
    assert joined.tcb_info == held.tcb_info


# --- directory


def test_a_quote_names_its_platform() -> None:
    assert QUOTE.platform() == PLATFORM
    processor = SimulatedPki(pck_ca_name="Coterie Simulated PCK Processor CA")
    quote = sgx_quote(processor, EnclaveFields(mrenclave=bytes(32)))
    platform = parse_quote(quote).platform()
    assert isinstance(platform, Platform)
    assert platform.ca == "processor"


def test_a_directory_gives_what_was_stored(tmp_path: Path) -> None:
    directory = DirectoryCollateral(tmp_path / "new")
    path = directory.store(PLATFORM, NEW)
    assert path.name == "sgx-c07e51000000-platform.json"
    assert directory.collateral_for(QUOTE, AT) == NEW
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_directory_keeps_newer_parts(tmp_path: Path) -> None:
    directory = DirectoryCollateral(tmp_path)
    directory.store(PLATFORM, NEW)
    directory.store(PLATFORM, OLD)
    assert directory.read(PLATFORM) == NEW


def test_a_damaged_file_is_refused_and_can_be_replaced(tmp_path: Path) -> None:
    directory = DirectoryCollateral(tmp_path)
    directory.store(PLATFORM, NEW).write_text("{")
    with pytest.raises(EvidenceRefused) as refusal:
        directory.collateral_for(QUOTE, AT)
    assert refusal.value.failed_check == "collateral_format"
    directory.store(PLATFORM, OLD)
    assert directory.read(PLATFORM) == OLD


def test_missing_collateral_is_told(tmp_path: Path) -> None:
    with pytest.raises(EvidenceRefused) as refusal:
        DirectoryCollateral(tmp_path).collateral_for(QUOTE, AT)
    assert refusal.value.failed_check == "collateral_missing"


def test_a_directory_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    directory = DirectoryCollateral(tmp_path / "file")
    with pytest.raises(EnvironmentUnfit):
        directory.store(PLATFORM, NEW)
    with pytest.raises(EnvironmentUnfit):
        directory.collateral_for(QUOTE, AT)


# --- cache


@dataclass
class Queue:
    """A source that delivers, or fails, in turn."""

    answers: list[Collateral | Exception]
    asked: int = 0

    def collateral_for(self, quote: AnyQuote, at: datetime) -> Collateral:
        assert quote.platform() == PLATFORM
        assert at >= AT
        self.asked += 1
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


DOWN = EnvironmentUnfit("the PCCS is down")


def later() -> LookUps[Vetted]:
    """Look-ups between which an hour passes."""
    hours = itertools.count(0.0, 3600.0)
    return LookUps(seconds=7200.0, monotonic=lambda: next(hours))


def test_the_cache_asks_once_while_collateral_is_current() -> None:
    source = Queue([NEW])
    cache = CachedCollateral(source, kinds={"simulated"})
    assert [cache.collateral_for(QUOTE, AT + i * DAY) for i in range(20)] == [NEW] * 20
    assert source.asked == 1


def test_the_cache_refreshes_before_the_end() -> None:
    newer = PKI.issue(AT + 27 * DAY)
    cache = CachedCollateral(Queue([NEW, newer]), kinds={"simulated"}, look_ups=later())
    cache.collateral_for(QUOTE, AT)
    assert cache.collateral_for(QUOTE, AT + 28 * DAY + DAY / 2) == newer


def test_the_cache_survives_an_outage_while_collateral_is_current() -> None:
    cache = CachedCollateral(Queue([NEW, DOWN, DOWN]), kinds={"simulated"}, look_ups=later())
    cache.collateral_for(QUOTE, AT)
    assert cache.collateral_for(QUOTE, AT + 28 * DAY + DAY / 2) == NEW
    with pytest.raises(EnvironmentUnfit):
        cache.collateral_for(QUOTE, AT + 30 * DAY)


def test_the_cache_takes_nothing_older() -> None:
    cache = CachedCollateral(Queue([NEW]), kinds={"simulated"})
    cache.collateral_for(QUOTE, AT)
    assert cache.remember(QUOTE, OLD, AT).collateral == NEW
    assert cache.collateral_for(QUOTE, AT) == NEW


def test_the_cache_takes_nothing_forged() -> None:
    forged = SimulatedPki(seed=b"a stranger").issue(AT)
    cache = CachedCollateral(Queue([forged, NEW]), kinds={"simulated"}, look_ups=later())
    with pytest.raises(EvidenceRefused) as refusal:
        cache.collateral_for(QUOTE, AT)
    assert refusal.value.failed_check == "pck_crl_chain_root"
    assert cache.collateral_for(QUOTE, AT) == NEW


# --- the dates of issue of genuine collateral put a floor under the clock


def test_the_cache_tells_the_dates_of_genuine_collateral_only() -> None:
    told: list[datetime] = []
    cache = CachedCollateral(Queue([NEW]), kinds={"simulated"}, observe=told.append)
    cache.collateral_for(QUOTE, AT)
    cache.remember(QUOTE, OLD, AT)
    assert told == [AT - DAY, AT - 10 * DAY]
    with pytest.raises(EvidenceRefused):
        cache.remember(QUOTE, SimulatedPki(seed=b"a stranger").issue(AT + DAY), AT)
    assert len(told) == 2


class TestAClockThatIsBehind:
    """Collateral is genuine and was issued after what the clock says: so the clock is wrong."""

    LATER = PKI.issue(AT + 2 * DAY)

    def refused(self, attempt: Callable[[], object], told: list[datetime]) -> None:
        with pytest.raises(EvidenceRefused) as refusal:
            attempt()
        assert refusal.value.failed_check == "clock"
        assert told[-1] == AT + 2 * DAY

    def test_stapled_by_a_peer(self) -> None:
        told: list[datetime] = []
        cache = CachedCollateral(Queue([]), kinds={"simulated"}, observe=told.append)
        self.refused(lambda: cache.remember(QUOTE, self.LATER, AT), told)

    def test_from_the_source(self) -> None:
        told: list[datetime] = []
        cache = CachedCollateral(Queue([self.LATER]), kinds={"simulated"}, observe=told.append)
        self.refused(lambda: cache.collateral_for(QUOTE, AT), told)

    def test_from_the_source_while_older_collateral_is_current(self) -> None:
        told: list[datetime] = []
        newer = PKI.issue(AT + 40 * DAY)
        cache = CachedCollateral(
            Queue([NEW, newer]), kinds={"simulated"}, observe=told.append, look_ups=later()
        )
        cache.collateral_for(QUOTE, AT)
        with pytest.raises(EvidenceRefused) as refusal:
            cache.collateral_for(QUOTE, AT + 28 * DAY + DAY / 2)
        assert refusal.value.failed_check == "clock"
        assert told[-1] == AT + 40 * DAY

    def test_kept_from_an_earlier_run(self, tmp_path: Path) -> None:
        """Older collateral that the source offers does not help a host that turned time back."""
        directory, told = DirectoryCollateral(tmp_path), list[datetime]()
        directory.store(PLATFORM, self.LATER)
        cache = CachedCollateral(
            Queue([NEW]), kinds={"simulated"}, directory=directory, observe=told.append
        )
        self.refused(lambda: cache.collateral_for(QUOTE, AT), told)


def test_real_collateral_puts_a_floor_under_the_clock() -> None:
    folder = VECTORS / "sgx_v3_lcp"
    if not folder.is_dir():
        pytest.skip(f"real vectors are not here: {VECTORS}")
    quote = parse_quote((folder / "quote.bin").read_bytes())
    collateral = Collateral.from_json((folder / "collateral.json").read_bytes())
    issued = collateral.freshness().newest
    times = [issued - 400 * DAY]
    clock = FlooredClock(times[0], clock=lambda: times[-1])
    cache = CachedCollateral(Queue([]), kinds={"sgx"}, observe=clock.observe)
    assert clock() == times[0]

    with pytest.raises(EvidenceRefused) as refusal:
        cache.remember(quote, collateral, clock())
    assert refusal.value.failed_check == "clock"
    with pytest.raises(EvidenceRefused) as refusal:
        clock()
    assert refusal.value.failed_check == "clock"
    assert issued.isoformat() in refusal.value.expected

    times.append(issued + DAY)
    assert cache.remember(quote, collateral, clock()).collateral == collateral


def test_the_cache_survives_a_restart(tmp_path: Path) -> None:
    directory = DirectoryCollateral(tmp_path)
    CachedCollateral(Queue([NEW]), kinds={"simulated"}, directory=directory).collateral_for(
        QUOTE, AT
    )
    source = Queue([])
    again = CachedCollateral(source, kinds={"simulated"}, directory=directory)
    assert again.collateral_for(QUOTE, AT) == NEW
    assert source.asked == 0


def test_the_cache_ignores_stale_and_forged_files(tmp_path: Path) -> None:
    directory = DirectoryCollateral(tmp_path)
    directory.store(PLATFORM, SimulatedPki(seed=b"a stranger").issue(AT))
    cache = CachedCollateral(SimulatedCollateral(), kinds={"simulated"}, directory=directory)
    assert cache.collateral_for(QUOTE, AT) == PKI.collateral(AT)
