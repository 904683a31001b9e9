"""Guests on Debian's QEMU, with OVMF as firmware and swtpm as TPM, by software emulation."""

from __future__ import annotations

import importlib.util
import io
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import pytest
import tomlkit

from coterie.guest.platform import missing_tools
from tests.system.conftest import Federation
from tests.system.enclaves import EnclaveNode

PACKAGES = Path(__file__).parents[2] / "build" / "guest-packages"
FIRMWARE = Path("/usr/share/OVMF")
# QEMU's network of one guest: the guest, the machine that runs QEMU, its name server.
GUEST, HOST, NAMES = "10.0.2.15", "10.0.2.2", "10.0.2.3"
PORT = 7440
# Without AVX2: as QEMU 7.2 emulates it, NumPy's sorting crashes.
CPU = "max,avx2=off"


def skip_without_build_tools() -> None:
    missing = list(missing_tools())
    if importlib.util.find_spec("pefile") is None:
        missing.append("pefile, of requirements/dev.lock")
    if not PACKAGES.is_dir():
        missing.append("build/guest-packages, which `make guest-packages` makes")
    if missing:
        pytest.skip(f"no guest can be built here; missing: {', '.join(missing)}")


def skip_without_emulation() -> None:
    wanted = {
        "qemu-system-x86": shutil.which("qemu-system-x86_64"),
        "swtpm": shutil.which("swtpm"),
        "ovmf": (FIRMWARE / "OVMF_CODE_4M.fd").exists(),
    }
    missing = [package for package, found in wanted.items() if not found]
    if missing:
        pytest.skip(f"no guest can be started here; missing: {', '.join(missing)}")


def inputs_disk(disk: Path, files: dict[str, bytes]) -> Path:
    """Writes the host's inputs as a guest reads them."""
    with tarfile.open(disk, "x:", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return disk


def own_address() -> str:
    """An address of this machine that no other test process listens on."""
    return f"127.77.{os.getpid() >> 8 & 255}.{os.getpid() & 255}"


def file_system(disk: Path, label: str, content: Path) -> Path:
    """Writes a folder as a disk with a file system, as a host does for a guest."""
    with disk.open("xb") as file:
        file.truncate(32 << 20)
    command = ("mkfs.ext4", "-q", "-L", label, "-d", str(content), str(disk))
    subprocess.run(
        command, check=True, env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin"}
    )
    return disk


def inputs_of(
    contract: Federation,
    node_toml: Mapping[str, object],
    more: Mapping[str, bytes] = MappingProxyType({}),
) -> Path:
    """The disk with the inputs of a node of a contract."""
    node = str(node_toml["name"])
    network = {"address": f"{GUEST}/24", "gateway": HOST, "nameservers": [NAMES]}
    signed = {path.name: path.read_bytes() for path in contract.folder.glob("contract.toml*")}
    files = {
        "node.toml": tomlkit.dumps(node_toml).encode(),
        "network.toml": tomlkit.dumps(network).encode(),
        **signed,
        **more,
    }
    return inputs_disk(contract.folder / f"inputs-{node}.tar", files)


def from_guest(address: str) -> str:
    """An address of this machine as a guest dials it."""
    return f"{HOST}:{address.rpartition(':')[2]}"


@contextmanager
def started(
    disk: Path, folder: Path, *more: str, forward: tuple[int, ...] = (), megabytes: int = 2048
) -> Iterator[EnclaveNode]:
    """A guest, whose console is its output.

    Args:
        disk: The image.
        folder: For what firmware and TPM keep; new, or with a TPM's state.
        more: More arguments of QEMU.
        forward: Ports of the guest that can be dialled at the same ports of ``own_address``.
        megabytes: Its memory.
    """
    folder.mkdir(exist_ok=True)
    variables = folder / "variables.fd"
    shutil.copy(FIRMWARE / "OVMF_VARS_4M.fd", variables)
    control = folder / "tpm.socket"
    rules = "".join(f",hostfwd=tcp:{own_address()}:{port}-{GUEST}:{port}" for port in forward)
    # It goes on in the background, and ends with QEMU's connection.
    subprocess.run(
        [
            *(
                "swtpm",
                "socket",
                "--tpm2",
                "--tpmstate",
                f"dir={folder}",
                "--daemon",
                "--terminate",
            ),
            *("--ctrl", f"type=unixio,path={control}"),
        ],
        check=True,
    )
    command = [
        # What measures times on this machine goes first.
        *(
            "chrt",
            "--idle",
            "0",
            "qemu-system-x86_64",
            "-nodefaults",
            "-no-reboot",
            "-display",
            "none",
        ),
        *("-machine", "q35,accel=tcg", "-cpu", CPU, "-m", str(megabytes), "-serial", "stdio"),
        *("-drive", f"if=pflash,format=raw,readonly=on,file={FIRMWARE / 'OVMF_CODE_4M.fd'}"),
        *("-drive", f"if=pflash,format=raw,file={variables}"),
        *("-drive", f"if=none,id=image,format=raw,readonly=on,file={disk}"),
        *("-device", "virtio-blk-pci,drive=image,bootindex=0"),
        *("-chardev", f"socket,id=tpm,path={control}"),
        *("-tpmdev", "emulator,id=tpm0,chardev=tpm", "-device", "tpm-crb,tpmdev=tpm0"),
        *("-netdev", f"user,id=net{rules}", "-device", "virtio-net-pci,netdev=net"),
        *more,
    ]
    node = EnclaveNode(command, folder, dict(os.environ))
    try:
        yield node
    finally:
        node.process.kill()
        node.process.communicate()


def reported_pcrs(node: EnclaveNode) -> dict[int, str]:
    """The PCRs that the guest's TPM reports."""
    said = "".join(node.said)
    return {int(pcr): value for pcr, value in re.findall(r"guest: pcr (\d+) ([0-9a-f]{64})", said)}


def as_disk(path: Path, *, writable: bool = False) -> tuple[str, str, str, str]:
    """QEMU's arguments that attach a file as a disk."""
    access = "off" if writable else "on"
    name = path.stem
    return (
        *("-drive", f"if=none,id={name},format=raw,readonly={access},file={path}"),
        *("-device", f"virtio-blk-pci,drive={name}"),
    )
