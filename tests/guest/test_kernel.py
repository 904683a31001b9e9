"""Requests to device mapper, byte for byte as its header file lays them out; mounts of the host's disks."""

from __future__ import annotations

import errno
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from coterie.guest.kernel import VerifiedRoot
from tests.conftest import REPOSITORY

OWN_MOUNTS = ("unshare", "--map-root-user", "--mount")

ROOT = VerifiedRoot(b"\xab" * 32, 1000)


def test_a_verified_device_is_made_loaded_and_resumed() -> None:
    numbers = [number for number, _ in ROOT.requests("coterie-root", "/dev/vda2")]
    # DM_DEV_CREATE, DM_TABLE_LOAD, DM_DEV_SUSPEND of <linux/dm-ioctl.h>
    assert numbers == [0xC138FD03, 0xC138FD09, 0xC138FD06]


def test_the_table_names_digest_and_size_and_ends_the_machine_on_corruption() -> None:
    _, (_, load), _ = ROOT.requests("coterie-root", "/dev/vda2")
    version, size, start, targets, flags = struct.unpack_from("<12sIII4xI", load)
    assert version == struct.pack("<III", 4, 0, 0)
    assert (size, start, targets, flags) == (len(load), 312, 1, 1)
    assert load[48:176].rstrip(b"\0") == b"coterie-root"
    first, sectors, kind = struct.unpack_from("<QQ8x16s", load, 312)
    assert (first, sectors, kind.rstrip(b"\0")) == (0, 8000, b"verity")
    assert load[352:].rstrip(b"\0").decode() == (
        f"1 /dev/vda2 /dev/vda2 4096 4096 1000 1000 sha256 {'ab' * 32} - 1 panic_on_corruption"
    )
    assert len(load) % 8 == 0


@pytest.mark.system
def test_no_link_on_a_hosts_disk_is_followed(tmp_path: Path) -> None:
    if subprocess.run((*OWN_MOUNTS, "true"), capture_output=True, check=False).returncode:
        pytest.skip("this system gives no name space of mounts to a user")
    done = subprocess.run(
        (*OWN_MOUNTS, sys.executable, "-m", "tests.guest.mounting", str(tmp_path)),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["plain", *[f"OSError {errno.ELOOP}"] * 4]
    assert (tmp_path / "secret").read_text() == "the guest's own"
