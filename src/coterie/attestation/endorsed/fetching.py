"""Fetches launch endorsements from their publisher's storage, over https, into a directory of collateral."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from coterie.attestation.endorsed.document import read_endorsement
from coterie.attestation.endorsed.documents import needed, path_of
from coterie.attestation.endorsed.signature import verify_signature
from coterie.attestation.pccs import TIMEOUT_SECONDS, HttpsGet, UrllibHttps, require_https
from coterie.attestation.verdict import CheckList
from coterie.contract.trust import TrustSection
from coterie.files import make_folder, write_whole
from coterie.kinds import SIMULATED, TeeKind

# Where Google's storage has them, by kind of TEE: extract/ of gce-tcb-verifier.
_FOLDERS: Mapping[TeeKind, str] = {"tdx": "ovmf_x64_csm/tdx", "snp": "ovmf_x64_csm/sevsnp"}


class PublishersStorage:
    """The storage in which Google publishes its documents, or a copy of it.

    It is not trusted: the publisher signs what it delivers.

    Args:
        url: Its address, https only.
        http: The transport; TLS with the system's CA certificates unless given.

    Raises:
        EnvironmentUnfit: The address is not https.
    """

    def __init__(self, url: str, *, http: HttpsGet | None = None) -> None:
        self._base = url.rstrip("/")
        require_https(self._base)
        self._http = http or UrllibHttps()

    def document(self, kind: TeeKind, measurement: bytes) -> bytes:
        """Fetches the document of a measurement.

        Raises:
            EnvironmentUnfit: The storage cannot be reached or does not have it.
        """
        url = f"{self._base}/{_FOLDERS[kind]}/{measurement.hex()}.binarypb"
        return self._http.get(url, TIMEOUT_SECONDS).body


def fetch_endorsements(
    trust: TrustSection, storage: PublishersStorage, folder: Path, at: datetime
) -> tuple[Path, ...]:
    """Fetches the documents that a contract demands.

    A document is stored only if a root of the contract's vouches for its signature.

    Args:
        trust: The contract's section.
        storage: The publisher's storage.
        folder: Directory of collateral to fill.
        at: The moment that counts, with a time zone.

    Returns:
        The files.

    Raises:
        EnvironmentUnfit: The storage cannot be reached, or lacks one of them.
        EvidenceRefused: A document is malformed, or signed by somebody else.
        OSError: A file cannot be written.
    """
    stored = []
    make_folder(folder)
    for kind, measurement, section in needed(trust):
        if kind in SIMULATED:
            continue
        document = storage.document(kind, measurement)
        verify_signature(read_endorsement(document), roots=section.roots, at=at, checks=CheckList())
        path = path_of(folder, measurement)
        write_whole(path, document)
        stored.append(path)
    return tuple(stored)
