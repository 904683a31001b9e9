"""The kernel modules of a guest, with those on which they depend, in the order of loading."""

from __future__ import annotations

import lzma
import re
from functools import partial
from pathlib import Path
from typing import Final

from coterie.errors import EnvironmentUnfit

#: What guests need on QEMU and on the clouds: storage, network, verified root, reports of the TEE.
MODULES: Final = (
    "configfs",
    "dm_verity",
    "ena",
    "gve",
    "hv_netvsc",
    "hv_storvsc",
    "hv_vmbus",
    "sd_mod",
    "sev_guest",
    "squashfs",
    "tdx_guest",
    "virtio_blk",
    "virtio_net",
    "virtio_rng",
    "virtio_scsi",
)

_SUFFIX = ".ko.xz"
_DEPENDS = re.compile(rb"\0depends=([a-zA-Z0-9_,-]*)\0")


_missing = partial(
    EnvironmentUnfit,
    "a kernel module of the guest cannot be had",
    remedy="use Debian 13's linux-image-cloud-amd64; name its unpacked package with --platform",
)


def modules_in_order(folder: Path, names: tuple[str, ...] = MODULES) -> tuple[Path, ...]:
    """The files of modules, each after those on which it depends.

    Args:
        folder: The folder of a kernel's modules, ``lib/modules/RELEASE``.
        names: Names of the modules.

    Raises:
        EnvironmentUnfit: One is not there, or cannot be read.
    """
    files = {
        path.name.removesuffix(_SUFFIX).replace("-", "_"): path
        for path in sorted(folder.rglob("*" + _SUFFIX))
    }
    ordered: dict[str, Path] = {}

    def add(name: str, above: tuple[str, ...]) -> None:
        if name in ordered:
            return
        path = files.get(name)
        if path is None or name in above:
            raise _missing(
                f"the module {name} below {folder}", "none" if path is None else "a loop"
            )
        for needed in _dependencies(path):
            add(needed, (*above, name))
        ordered[name] = path

    for name in names:
        add(name, ())
    return tuple(ordered.values())


def _dependencies(path: Path) -> tuple[str, ...]:
    try:
        found = _DEPENDS.search(lzma.decompress(path.read_bytes()))
    except (OSError, lzma.LZMAError) as error:
        raise _missing(f"{path.name}, compressed by xz", str(error)[:200]) from error
    if found is None:
        raise _missing(f"what {path.name} depends on", "nothing about it")
    return tuple(name.replace("-", "_") for name in found.group(1).decode().split(",") if name)
