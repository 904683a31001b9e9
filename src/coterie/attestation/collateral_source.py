"""Sources of collateral behind one protocol: the simulation, a directory, a PCCS, a cache.

No source is trusted: the appraiser verifies everything that a source returns.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from coterie.attestation.authentic import (
    AnyCollateral,
    AnyPlatform,
    AnyQuote,
    AuthenticEvidence,
    Vetted,
)
from coterie.attestation.clock import clock_is_behind
from coterie.attestation.evidence import authenticate, parse_evidence, read_collateral
from coterie.attestation.json_collateral import MAX_COLLATERAL_BYTES
from coterie.attestation.lookups import LookUps
from coterie.attestation.tee.by_kind import root_for
from coterie.attestation.verdict import CheckList
from coterie.errors import CoterieError, EnvironmentUnfit, EvidenceRefused
from coterie.files import make_folder, move_over, read_bounded, sync_folder, write_whole
from coterie.kinds import OF_SNP, OF_TDX, TeeKind

if TYPE_CHECKING:  # nodes with real TEEs do not load the simulated vendor
    from coterie.attestation.tee.simulated.pki import SimulatedPki
    from coterie.attestation.tee.simulated.snp_vendor import SimulatedAmd

_REFRESH_BEFORE_EXPIRY = timedelta(days=1)


class CollateralSource(Protocol):
    """Finds the collateral of the platform that made a quote."""

    def collateral_for(self, quote: AnyQuote, at: datetime) -> AnyCollateral:
        """Finds collateral.

        Args:
            quote: The quote; it names the platform family and CA.
            at: Time at which the collateral must be current.

        Raises:
            EvidenceRefused: There is none for this platform (check ``collateral_missing``), or it
                or the quote is malformed.
            EnvironmentUnfit: The source cannot be reached.
        """
        ...


class SimulatedCollateral:
    """Collateral of the simulated platform, made when requested.

    Args:
        pki: The simulated vendor of DCAP quotes; by default the shared one of enclaves or of trust
            domains.
        amd: The simulated vendor of SNP evidence; by default the shared one of the product line.
    """

    def __init__(self, pki: SimulatedPki | None = None, amd: SimulatedAmd | None = None) -> None:
        self._pki = pki
        self._amd = amd

    def collateral_for(self, quote: AnyQuote, at: datetime) -> AnyCollateral:
        """Collateral that is current at a time; the appraiser checks whether it fits the quote."""
        if quote.kind in OF_SNP:
            from coterie.attestation.tee.simulated.snp_vendor import vendor_of

            return (self._amd or vendor_of(quote)).collateral(at)
        from coterie.attestation.tee.simulated.pki import SimulatedPki

        tee: Literal["SGX", "TDX"] = "TDX" if quote.kind in OF_TDX else "SGX"
        return (self._pki or SimulatedPki(tee=tee)).collateral(at)


class ByVendor:
    """Collateral from the source of the vendor that made a quote's TEE.

    Args:
        intel: Source for SGX and TDX.
        amd: Source for SEV-SNP.
    """

    def __init__(self, *, intel: CollateralSource, amd: CollateralSource) -> None:
        self._intel = intel
        self._amd = amd

    def collateral_for(self, quote: AnyQuote, at: datetime) -> AnyCollateral:
        """Finds collateral; raises as its source does."""
        source = self._amd if quote.kind in OF_SNP else self._intel
        return source.collateral_for(quote, at)


class StapledOnly:
    """The collateral source of a node that can reach only its peers."""

    def collateral_for(self, quote: AnyQuote, at: datetime) -> AnyCollateral:  # noqa: ARG002 - protocol
        """Finds no collateral.

        Raises:
            EvidenceRefused: ``collateral_missing``, always.
        """
        raise EvidenceRefused(
            "collateral_missing",
            "this node has no source of collateral and the peer stapled none",
            expected="collateral from the vendor's service, from a directory, or stapled by the peer",
            seen="none",
            remedy="give this node or its peer --pccs-url (Intel), --kds-url (AMD) or a collateral directory",
        )


def stapled(source: CollateralSource, quote: bytes, at: datetime) -> bytes:
    """Collateral for one's own quote as a JSON message; empty if none can be found.

    The peer then reports that collateral is missing.
    """
    try:
        text = source.collateral_for(parse_evidence(quote), at).to_json().encode()
    except CoterieError:
        return b""
    return text if len(text) <= MAX_COLLATERAL_BYTES else b""  # no peer reads more


class DirectoryCollateral:
    """Collateral in files for offline use, one per platform.

    They are ``<tee>-<fmspc>-<ca>.json`` (Intel) and ``snp-<product>-<key>.json`` (AMD).

    Args:
        folder: The directory; ``coterie attest fetch`` fills it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collateral_for(self, quote: AnyQuote, at: datetime) -> AnyCollateral:  # noqa: ARG002 - protocol
        """Reads the file of the quote's platform."""
        platform = quote.platform()
        collateral = self.read(platform)
        if collateral is None:
            raise EvidenceRefused(
                "collateral_missing",
                f"there is no collateral for platform family {platform.name}",
                expected=f"a file {platform.name}.json in {self._folder}",
                seen="no such file",
                remedy="fetch it: coterie attest fetch FILE --out DIR, with --pccs-url (Intel) or --kds-url (AMD)",
            )
        return collateral

    def read(self, platform: AnyPlatform) -> AnyCollateral | None:
        """Reads the collateral of one platform; None if there is no file.

        Raises:
            EvidenceRefused: The file is malformed.
            EnvironmentUnfit: It cannot be read.
        """
        path = self._path(platform)
        try:
            return read_collateral(read_bounded(path, MAX_COLLATERAL_BYTES))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unfit(path, "read", error) from error

    def store(self, platform: AnyPlatform, collateral: AnyCollateral) -> Path:
        """Stores genuine collateral; newer parts in the existing file stay.

        Args:
            platform: The platform that it is for.
            collateral: Collateral whose signatures were checked.

        Returns:
            The file.
        """
        path = self._path(platform)
        held = None
        # Replace a damaged file.
        with suppress(EvidenceRefused):
            held = self.read(platform)
            collateral = collateral if held is None else held.renewed_by(collateral)
        try:
            make_folder(self._folder)
            # Nodes on one machine may share the folder, so each writes to a file of its own and
            # renames it.
            with tempfile.TemporaryDirectory(dir=self._folder, prefix=".") as aside:
                whole = Path(aside, path.name)
                write_whole(whole, collateral.to_json().encode())
                move_over(whole, path)
            sync_folder(self._folder)
        except OSError as error:
            raise _unfit(path, "written", error) from error
        return path

    def _path(self, platform: AnyPlatform) -> Path:
        return self._folder / f"{platform.name}.json"


class CachedCollateral:
    """Caches genuine collateral until it expires. Only newer parts replace older ones.

    Args:
        source: Source of new collateral.
        kinds: The contract's kinds of TEE, whose roots decide what is genuine.
        directory: Directory that keeps collateral between restarts; none if absent.
        observe: Called with the newest date of issue of genuine collateral, which has certainly
            passed.
        look_ups: Bounds the requests to the source.
    """

    def __init__(
        self,
        source: CollateralSource,
        *,
        kinds: Collection[TeeKind],
        directory: DirectoryCollateral | None = None,
        observe: Callable[[datetime], None] = lambda _: None,
        look_ups: LookUps[Vetted] | None = None,
    ) -> None:
        self._source = source
        self._kinds = frozenset(kinds)
        self._directory = directory
        self._observe = observe
        self._look_ups = look_ups or LookUps()
        self._held: dict[AnyPlatform, AnyCollateral] = {}
        self._lock = threading.Lock()  # guards `_held` and the directory; not held during look-ups

    def collateral_for(self, quote: AnyQuote, at: datetime) -> AnyCollateral:
        """The collateral that `vetted_for` finds.

        Raises:
            CoterieError: As for `vetted_for`.
        """
        return self.vetted_for(quote, at).collateral

    def vetted_for(self, quote: AnyQuote, at: datetime) -> Vetted:
        """Returns the newest known collateral; asks the source if the cached one expires soon.

        If the source fails, the cached collateral is returned as long as it is current. The caller
        must have checked that a genuine TEE made the quote; otherwise strangers could choose the
        requests.

        Raises:
            EvidenceRefused: As a source; or the answer is not genuine or not current; ``clock`` if
                it is genuine and was issued after ``at``.
            EnvironmentUnfit: The source cannot be reached.
        """
        platform = quote.platform()
        with self._lock:
            known = self._held.get(platform)
            held = Vetted(known) if known else self._stored(quote, platform, at)
        expiry = None if held is None else held.collateral.freshness().expiry
        if held is not None and expiry is not None and at < expiry - _REFRESH_BEFORE_EXPIRY:
            return held
        try:
            return self._look_ups.outcome(
                platform,
                lambda: self.remember(quote, self._source.collateral_for(quote, at), at),
            )
        except CoterieError as error:
            if held is None or expiry is None or at >= expiry or _is_about_the_clock(error):
                raise
            return held

    def remember(self, quote: AnyQuote, collateral: AnyCollateral, at: datetime) -> Vetted:
        """Caches collateral (for instance stapled by a peer) after checking that it is genuine.

        Returns:
            The newest parts of the cached and the given collateral.

        Raises:
            EvidenceRefused: It is not genuine, not for this quote, or not current; ``clock`` if it
                is genuine and was issued after ``at``.
        """
        platform = quote.platform()
        evidence = self._authenticate(quote, collateral, at)
        with self._lock:
            held = self._held.get(platform)
            joined = collateral if held is None else held.renewed_by(collateral)
            self._held[platform] = joined
            if self._directory is not None:
                self._directory.store(platform, joined)
        return Vetted(joined, evidence if joined == collateral else None)

    def _stored(self, quote: AnyQuote, platform: AnyPlatform, at: datetime) -> Vetted | None:
        if self._directory is None:
            return None
        try:
            stored = self._directory.read(platform)
            if stored is None:
                return None
            evidence = self._authenticate(quote, stored, at)
        except EvidenceRefused as error:
            if _is_about_the_clock(error):
                raise
            return None
        self._held[platform] = stored
        return Vetted(stored, evidence)

    def _authenticate(
        self, quote: AnyQuote, collateral: AnyCollateral, at: datetime
    ) -> AuthenticEvidence:
        issued = collateral.freshness().newest
        # Collateral that is genuine proves that its date of issue has passed.
        moment = max(at, issued)
        kind = quote.kind if quote.kind in self._kinds else min(self._kinds)
        evidence = authenticate(
            quote, collateral, kind=kind, root=root_for(kind), at=moment, checks=CheckList()
        )
        self._observe(issued)
        if at < issued:
            raise clock_is_behind(at, issued)
        return evidence


def _is_about_the_clock(error: CoterieError) -> bool:
    return isinstance(error, EvidenceRefused) and error.failed_check == "clock"


def _unfit(path: Path, action: str, error: OSError) -> EnvironmentUnfit:
    return EnvironmentUnfit(
        f"the collateral {path} cannot be {action}",
        expected="a directory that this user may use",
        seen=error.strerror or str(error),
        remedy="check the path and its permissions",
    )
