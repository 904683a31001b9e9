"""Requests to device mapper, byte for byte as its header file lays them out."""

from __future__ import annotations

import struct

from coterie.guest.kernel import VerifiedRoot

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
