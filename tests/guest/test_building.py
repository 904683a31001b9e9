"""What a build refuses before it begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from coterie.errors import EnvironmentUnfit, OutputInUse
from coterie.guest import building, platform
from coterie.guest.building import build_guest
from coterie.guest.platform import find_platform, missing_tools, run_tool


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    root = tmp_path / "packages"
    release = "6.12.0-cloud-amd64"
    for name in (
        f"boot/vmlinuz-{release}",
        f"usr/lib/modules/{release}/kernel/a.ko.xz",
        "usr/lib/systemd/boot/efi/linuxx64.efi.stub",
        "usr/bin/ukify",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def test_the_files_of_the_packages_are_found(packages: Path) -> None:
    found = find_platform(packages)
    assert found.release == "6.12.0-cloud-amd64"
    assert set(found.digests()) == {"vmlinuz-6.12.0-cloud-amd64", "linuxx64.efi.stub", "ukify"}


@pytest.mark.parametrize(
    ("missing", "seen"),
    [("boot/vmlinuz-6.12.0-cloud-amd64", "none"), ("usr/bin/ukify", "none")],
)
def test_a_missing_file_is_named(packages: Path, missing: str, seen: str) -> None:
    (packages / missing).unlink()
    with pytest.raises(EnvironmentUnfit, match="a guest cannot be built here") as refused:
        find_platform(packages)
    assert missing.partition("-")[0] in refused.value.expected
    assert refused.value.seen == seen


def test_two_kernels_are_one_too_many(packages: Path) -> None:
    (packages / "boot" / "vmlinuz-6.13.0-cloud-amd64").write_bytes(b"x")
    with pytest.raises(EnvironmentUnfit, match="a guest cannot be built here") as refused:
        find_platform(packages)
    assert refused.value.seen == "vmlinuz-6.12.0-cloud-amd64, vmlinuz-6.13.0-cloud-amd64"


def test_sgx_has_no_guests(packages: Path, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentUnfit, match="this kind of TEE has no guests") as refused:
        build_guest("ps", tmp_path, "sgx", find_platform(packages))
    assert refused.value.seen == "sgx"


def test_missing_tools_are_named_with_their_packages(
    packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(platform, "_SYSTEM_FOLDERS", ())
    assert missing_tools() == ("cryptsetup-bin", "dosfstools", "mtools", "squashfs-tools")
    with pytest.raises(EnvironmentUnfit, match="a guest cannot be built here") as refused:
        build_guest("ps", tmp_path / "out", "tdx", find_platform(packages))
    assert refused.value.seen == "missing: cryptsetup-bin dosfstools mtools squashfs-tools"
    with pytest.raises(EnvironmentUnfit, match="a guest cannot be built here") as refused:
        run_tool("mmd", [])
    assert refused.value.expected == "mmd, of Debian's package mtools"


def test_an_existing_folder_is_never_overwritten(
    packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "missing_tools", tuple)
    (tmp_path / "ps").mkdir()
    with pytest.raises(OutputInUse):
        build_guest("ps", tmp_path, "tdx", find_platform(packages))
