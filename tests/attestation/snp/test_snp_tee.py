"""The SNP reader against configfs-tsm that behaves, and misbehaves, as the kernel's does."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from coterie.attestation.collateral_options import endorsements_from_options
from coterie.attestation.snp.endorsements import EndorsementFolder, EndorsementSource
from coterie.attestation.snp.products import Product
from coterie.attestation.snp.quote import CA, LEAVES, ROOT, encode_table
from coterie.attestation.snp.report import SnpReport
from coterie.attestation.tee.by_kind import open_tee
from coterie.attestation.tee.simulated.snp_vendor import SimulatedAmd
from coterie.attestation.tee.snp import SnpTee
from coterie.errors import EnvironmentUnfit
from coterie.kinds import SigningKey
from tests.attestation.snp.forgeries import GUEST, HONEST, TURIN, VLEK

DATA = bytes(range(64))
GENOA = SimulatedAmd(product="Genoa")
SPAN = (datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))


@dataclass
class TsmTree:
    """configfs-tsm of an SNP guest: privilege levels, a table of certificates, counted writes."""

    vendor: SimulatedAmd = HONEST
    provider: bytes = b"sev_guest\n"
    floor: int = 0
    take: int = 64
    given: tuple[str, ...] = ("leaf", "ca", "root")
    errors: dict[str, list[int]] = field(default_factory=dict)
    intruders: int = 0
    report: Callable[[bytes], bytes] = lambda report: report
    version: int = 3
    entries: dict[Path, tuple[int, int, bytes]] = field(default_factory=dict)
    asked: list[int] = field(default_factory=list)

    def make_directory(self, path: Path) -> None:
        self._fail("mkdir")
        assert path.parent == Path("/sys/kernel/config/tsm/report")
        self.entries[path] = (0, 0, b"")

    def remove_directory(self, path: Path) -> None:
        del self.entries[path]

    def write(self, path: Path, data: bytes) -> int:
        self._fail(path.name)
        generation, level, inblob = self.entries[path.parent]
        if path.name == "privlevel":
            level = int(data)
            if level < self.floor:
                raise OSError(errno.EINVAL, "below the floor")
            self.asked.append(level)
            self.entries[path.parent] = (generation + 1, level, inblob)
            return len(data)
        assert path.name == "inblob"
        self.entries[path.parent] = (generation + 1, level, data[: self.take])
        return min(self.take, len(data))

    def read(self, path: Path, limit: int) -> bytes:
        self._fail(path.name)
        generation, level, data = self.entries[path.parent]
        if path.name == "outblob":
            if self.intruders:
                self.intruders -= 1
                self.entries[path.parent] = (generation + 1, level, data)
            guest = replace(
                GUEST, report_data=data, vmpl=level, version=self.version, platform_info=1
            )
            return self.report(self.vendor.report(guest))[:limit]
        if path.name == "auxblob":
            return self._table()[:limit]
        texts = {
            "provider": self.provider,
            "generation": f"{generation}\n".encode(),
            "privlevel_floor": f"{self.floor}\n".encode(),
        }
        return texts[path.name][:limit]

    def _table(self) -> bytes:
        names = {"leaf": LEAVES[self.vendor.key], "ca": CA, "root": ROOT}
        certificates = dict(zip(("leaf", "ca", "root"), self.vendor.chain, strict=True))
        if not self.given:
            return b""
        return encode_table([(names[one], certificates[one]) for one in self.given]) + bytes(512)

    def _fail(self, name: str) -> None:
        if pending := self.errors.get(name):
            raise OSError(pending.pop(0), "injected")


@dataclass
class Amd(EndorsementSource):
    """AMD's service."""

    vendor: SimulatedAmd = HONEST
    asked: list[str] = field(default_factory=list)

    def ca_chain(self, product: Product, key: SigningKey) -> tuple[bytes, bytes]:
        self.asked.append(f"{product.name} {key}")
        return self.vendor.chain[1], self.vendor.chain[2]

    def vcek(self, product: Product, report: SnpReport) -> bytes:
        self.asked.append(f"{product.name} {report.chip_id[:4].hex()}")
        if product.name != self.vendor.product:
            raise EnvironmentUnfit("no such chip", product.name, "404", "ask for another")
        return self.vendor.chain[0]


def wanted(vendor: SimulatedAmd = HONEST, *, vmpl: int = 0, version: int = 3) -> bytes:
    return vendor.evidence(
        replace(GUEST, report_data=DATA, vmpl=vmpl, version=version, platform_info=1)
    )


def test_evidence_is_a_report_and_the_hosts_certificates() -> None:
    tree = TsmTree()
    tee = SnpTee(files=tree)
    assert tee.quote(DATA) == wanted()
    assert (tee.kind, tee.describe().kind) == ("snp", "snp")
    assert tree.entries == {}
    assert tree.asked == []


@pytest.mark.parametrize(
    ("vmpls", "floor", "level"), [((0,), 0, 0), ((0, 2), 1, 2), ((3, 1, 2), 1, 1), ((2,), 0, 2)]
)
def test_the_lowest_level_that_contract_and_kernel_allow_is_asked_for(
    vmpls: tuple[int, ...], floor: int, level: int
) -> None:
    tree = TsmTree(floor=floor)
    assert SnpTee(vmpls=vmpls, files=tree).quote(DATA) == wanted(vmpl=level)
    assert tree.asked == [level]


def test_a_level_that_the_kernel_does_not_allow_is_told() -> None:
    with pytest.raises(EnvironmentUnfit, match="no report for a privilege level") as failure:
        SnpTee(vmpls=(0, 1), files=TsmTree(floor=2)).quote(DATA)
    assert failure.value.seen == "VMPL 2 and above"


@pytest.mark.parametrize(
    "tree",
    [
        TsmTree(intruders=4),
        TsmTree(errors={"mkdir": [errno.EEXIST, errno.EBUSY]}),
        TsmTree(errors={"outblob": [errno.EBUSY], "auxblob": [errno.EINTR]}),
        TsmTree(errors={"privlevel": [errno.EBUSY]}),
    ],
)
def test_races_are_survived(tree: TsmTree) -> None:
    assert SnpTee(vmpls=(0,), files=tree).quote(DATA) == wanted()


@pytest.mark.parametrize(
    ("tree", "what"),
    [
        (TsmTree(intruders=99), "busy"),
        (TsmTree(errors={"mkdir": [errno.ENOENT]}), "failed to open a report"),
        (TsmTree(errors={"auxblob": [errno.EIO]}), "failed to make a quote"),
        (TsmTree(provider=b"tdx_guest\n"), "another kind of TEE"),
        (TsmTree(take=32), "took a part of the report data"),
        (TsmTree(report=lambda _: b""), "gave no usable report"),
        (TsmTree(report=lambda report: report + b"\0"), "gave no usable report"),
        (TsmTree(report=lambda _: HONEST.report(GUEST)), "over something else"),
        (TsmTree(given=()), "VCEK are not all here"),
        (TsmTree(given=("leaf",)), "VCEK are not all here"),
        (TsmTree(vendor=VLEK, given=("ca", "root")), "VLEK are not all here"),
    ],
)
def test_failures_are_told(tree: TsmTree, what: str) -> None:
    with pytest.raises(EnvironmentUnfit, match=what) as failure:
        SnpTee(files=tree).quote(DATA)
    assert failure.value.remedy
    assert tree.entries == {}


@pytest.mark.parametrize(
    ("vendor", "given", "asked"),
    [
        (HONEST, (), ["Milan 1d1f4d0d", "Milan vcek"]),
        (HONEST, ("leaf",), ["Milan vcek"]),
        (VLEK, ("leaf",), ["Milan vlek"]),
        (TURIN, (), ["Turin 1d1f4d0d", "Turin vcek"]),
    ],
)
def test_what_the_host_does_not_give_is_asked_for_once(
    vendor: SimulatedAmd, given: tuple[str, ...], asked: list[str]
) -> None:
    asked = [one.replace("1d1f4d0d", vendor.chip_id[:4].hex()) for one in asked]
    amd = Amd(vendor)
    tee = SnpTee(files=TsmTree(vendor=vendor, given=given), endorsements=amd)
    assert tee.quote(DATA) == tee.quote(DATA) == wanted(vendor)
    assert amd.asked == asked


def test_the_next_certificate_that_a_host_gives_takes_the_place_of_the_one_before() -> None:
    """A cloud provider's key is certified for a year, and a node may run longer."""
    renewed = replace(VLEK, spans=(("leaf", SPAN),))
    tree = TsmTree(vendor=VLEK)
    tee = SnpTee(files=tree)
    assert tee.quote(DATA) == wanted(VLEK)
    tree.vendor = renewed
    assert tee.quote(DATA) == wanted(renewed) != wanted(VLEK)


@pytest.mark.parametrize(
    ("vendor", "asked"),
    [(HONEST, ["Milan"]), (GENOA, ["Milan", "Genoa"])],
)
def test_a_report_of_version_2_names_no_product_line_so_each_is_asked_for(
    vendor: SimulatedAmd, asked: list[str]
) -> None:
    amd = Amd(vendor)
    tee = SnpTee(files=TsmTree(vendor=vendor, version=2, given=()), endorsements=amd)
    assert tee.quote(DATA) == wanted(vendor, version=2)
    chip = vendor.chip_id[:4].hex()
    assert amd.asked == [*(f"{name} {chip}" for name in asked), f"{asked[-1]} vcek"]


def test_a_report_of_version_2_with_its_keys_certificate_names_its_product_line() -> None:
    tee = SnpTee(files=TsmTree(version=2, given=("leaf",)), endorsements=Amd())
    assert tee.quote(DATA) == wanted(version=2)


def test_a_chip_that_amd_does_not_know_cannot_be_endorsed() -> None:
    tree = TsmTree(vendor=GENOA, version=2, given=())
    with pytest.raises(EnvironmentUnfit, match="no such chip"):
        SnpTee(files=tree, endorsements=Amd(TURIN)).quote(DATA)


def test_a_vlek_that_the_host_withholds_cannot_be_had() -> None:
    with pytest.raises(EnvironmentUnfit, match="VLEK are not all here") as failure:
        SnpTee(files=TsmTree(vendor=VLEK, given=()), endorsements=Amd(VLEK)).quote(DATA)
    assert "only to its cloud provider" in failure.value.seen


def test_a_folder_keeps_what_the_service_gave(tmp_path: Path) -> None:
    amd = Amd()
    for source in (EndorsementFolder(tmp_path, amd), EndorsementFolder(tmp_path)):
        tee = SnpTee(files=TsmTree(given=()), endorsements=source)
        assert tee.quote(DATA) == wanted()
    assert len(amd.asked) == 2
    with pytest.raises(EnvironmentUnfit, match="not in the folder") as failure:
        SnpTee(
            files=TsmTree(vendor=SimulatedAmd(chip_id=b"\1" * 64), given=()),
            endorsements=EndorsementFolder(tmp_path),
        ).quote(DATA)
    assert "snp-vcek-0101010101010101-" in failure.value.expected
    (leaf,) = tmp_path.glob("*.der")
    certificate = leaf.read_bytes()
    leaf.write_bytes(certificate + b"\0")
    with pytest.raises(EnvironmentUnfit, match="gives no certificate of a chip"):
        SnpTee(files=TsmTree(given=()), endorsements=EndorsementFolder(tmp_path)).quote(DATA)
    leaf.write_bytes(certificate)
    (chain,) = tmp_path.glob("*.pem")
    chain.write_text("no certificates")
    with pytest.raises(EnvironmentUnfit, match="gives no certificates"):
        SnpTee(files=TsmTree(given=()), endorsements=EndorsementFolder(tmp_path)).quote(DATA)


def test_options_make_the_reader(tmp_path: Path) -> None:
    assert endorsements_from_options(kds_url=None, folder=None) is None
    assert endorsements_from_options(kds_url="https://kds.example", folder=None) is not None
    with pytest.raises(EnvironmentUnfit):
        endorsements_from_options(kds_url="http://kds.example", folder=tmp_path)
    tee = open_tee("snp", root=tmp_path, vmpls=(0,))
    assert tee.kind == "snp"
    with pytest.raises(EnvironmentUnfit, match="failed to open a report"):
        tee.quote(DATA)
