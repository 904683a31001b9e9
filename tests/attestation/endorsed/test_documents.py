"""Launch endorsements in files, and how they get there."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from coterie.attestation.endorsed.documents import launch_endorsements
from coterie.attestation.endorsed.fetching import PublishersStorage, fetch_endorsements
from coterie.attestation.endorsed.signature import spki_sha256
from coterie.attestation.pccs import TIMEOUT_SECONDS, Answer
from coterie.contract.endorsement_trust import SIMULATED_PUBLISHER, EndorsementTrust
from coterie.contract.snp_trust import SnpTrust
from coterie.contract.trust import RolesTrust, RoleTrust, TrustSection
from coterie.errors import EnvironmentUnfit, EvidenceRefused
from coterie.kinds import TeeKind
from tests.attestation.endorsed.test_endorsed_policy import STRANGER
from tests.attestation.forgeries import AT
from tests.cli.conftest import Run, run
from tests.contract.mixed import SNP

__all__ = ["run"]

URL = "https://storage.example/bucket"
GUEST, TD = b"\x33" * 48, b"\x44" * 48


def contract(
    *roots: str, kind: TeeKind = "snp", measurements: tuple[bytes, ...] = (GUEST,)
) -> TrustSection:
    """A section that demands endorsements of servers, made without the checks of whole contracts."""
    listed = tuple(one.hex() for one in measurements)
    table = RoleTrust(
        endorsement=EndorsementTrust(roots=roots),
        mrtd=listed if kind == "tdx" else (),
        snp=None if kind == "tdx" else SnpTrust(launch_measurement=listed),
    )
    return TrustSection.model_construct(tee=kind, roles=RolesTrust(ps=table), not_after=None)


def document(measurement: bytes) -> bytes:
    return replace(STRANGER, snp=((2, measurement),)).document()


@dataclass
class Storage:
    """The transport: what is asked for, and the answer."""

    body: bytes
    asked: list[str] = field(default_factory=list)

    def get(self, url: str, seconds: float = TIMEOUT_SECONDS) -> Answer:
        assert seconds <= TIMEOUT_SECONDS
        self.asked.append(url)
        return Answer({}, self.body)


ROOT = spki_sha256(STRANGER.root)


@pytest.mark.parametrize(("kind", "path"), [("tdx", "tdx"), ("snp", "sevsnp")])
def test_documents_are_fetched_by_measurement_and_read_from_their_directory(
    tmp_path: Path, kind: TeeKind, path: str
) -> None:
    trust, http = contract(ROOT, kind=kind), Storage(document(GUEST))
    folder = tmp_path / "collateral"
    stored = fetch_endorsements(trust, PublishersStorage(f"{URL}/", http=http), folder, AT)
    assert http.asked == [f"{URL}/ovmf_x64_csm/{path}/{GUEST.hex()}.binarypb"]
    assert stored == (folder / f"{GUEST.hex()}.binarypb",)
    held = launch_endorsements(trust, own_measurement=None, folder=folder)
    assert held == {GUEST: http.body}


@pytest.mark.parametrize(
    ("roots", "body", "check"),
    [
        ((SIMULATED_PUBLISHER,), document(GUEST), "endorsement_root"),
        ((ROOT,), b"\xff", "endorsement_format"),
    ],
)
def test_what_its_publisher_did_not_sign_is_not_stored(
    tmp_path: Path, roots: tuple[str, ...], body: bytes, check: str
) -> None:
    storage = PublishersStorage(URL, http=Storage(body))
    with pytest.raises(EvidenceRefused) as refused:
        fetch_endorsements(contract(*roots), storage, tmp_path, AT)
    assert refused.value.failed_check == check
    assert list(tmp_path.iterdir()) == []


def test_an_address_that_is_not_https_is_refused() -> None:
    with pytest.raises(EnvironmentUnfit):
        PublishersStorage("http://storage.example", http=Storage(b""))


def test_a_directory_need_not_have_them(tmp_path: Path) -> None:
    trust = contract(ROOT, measurements=(GUEST, TD))
    (tmp_path / f"{TD.hex()}.binarypb").write_bytes(b"whatever")
    assert launch_endorsements(trust, own_measurement=None, folder=tmp_path) == {TD: b"whatever"}
    assert launch_endorsements(trust, own_measurement=None, folder=None) == {}


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / f"{GUEST.hex()}.binarypb").mkdir()
    with pytest.raises(EnvironmentUnfit) as unfit:
        launch_endorsements(contract(ROOT), own_measurement=None, folder=tmp_path)
    assert f"{GUEST.hex()}.binarypb cannot be read" in unfit.value.what


def test_real_guests_get_no_document_of_the_simulated_publisher() -> None:
    """Not even one for this node's own measurement."""
    assert launch_endorsements(contract(ROOT), own_measurement=GUEST[:32], folder=None) == {}


def test_the_command_says_what_it_stored_and_takes_https_only(tmp_path: Path, run: Run) -> None:
    """``coterie attest endorsements --json`` under a contract that demands none has nothing to fetch."""
    file = tmp_path / "c.toml"
    file.write_text(SNP)
    out = tmp_path / "out"
    done = run("attest", "endorsements", file, "--url", URL, "--out", out, "--json")
    assert done.value == {"stored": []}
    refused = run("attest", "endorsements", file, "--url", "http://a.example", "--out", out)
    assert refused.code == EnvironmentUnfit.exit_code
