"""Kernel modules, in an order in which the kernel can load them."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest

from coterie.errors import EnvironmentUnfit
from coterie.guest.modules import modules_in_order


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, depends in {
        "dm-verity": "dm-mod,dm-bufio",
        "dm-bufio": "dm-mod",
        "dm-mod": "",
        "round": "trip",
        "trip": "round",
    }.items():
        text = f"license=GPL\0depends={depends}\0name={name}\0".encode()
        path = tmp_path / "kernel" / f"{name}.ko.xz"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(lzma.compress(text))
    (tmp_path / "kernel" / "odd.ko.xz").write_bytes(b"not compressed")
    (tmp_path / "kernel" / "mute.ko.xz").write_bytes(lzma.compress(b"\0name=mute\0"))
    return tmp_path


def test_a_module_comes_after_those_that_it_needs(folder: Path) -> None:
    found = modules_in_order(folder, ("dm_verity", "dm_mod"))
    assert [path.name for path in found] == ["dm-mod.ko.xz", "dm-bufio.ko.xz", "dm-verity.ko.xz"]


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("absent", "none"),
        ("round", "a loop"),
        ("odd", "Input format not supported by decoder"),
        ("mute", "nothing about it"),
    ],
)
def test_what_cannot_be_loaded_is_refused(folder: Path, name: str, seen: str) -> None:
    with pytest.raises(EnvironmentUnfit, match="a kernel module of the guest") as refused:
        modules_in_order(folder, (name,))
    assert refused.value.seen == seen
