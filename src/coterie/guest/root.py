"""The root file system of a guest: a node's image and nothing else, under dm-verity."""

from __future__ import annotations

import re
import shutil
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Final

import coterie
from coterie.enclave.contents import DISTRIBUTIONS, ImageName
from coterie.enclave.interpreter import SourceFile, interpreter_files, package_files
from coterie.enclave.layout import HOME
from coterie.enclave.libraries import system_libraries
from coterie.enclave.staging import StagedFile, stage
from coterie.errors import EnvironmentUnfit
from coterie.guest.initrd import LINKER
from coterie.guest.kernel import BLOCK_BYTES, VerifiedRoot
from coterie.guest.platform import run_tool

#: The dynamic linker on the machine that builds.
HOST_LINKER: Final = Path("/", LINKER)
# What runs inside of a guest, of this folder; the rest builds images.
_RUNTIME: Final = (
    "__init__.py",
    "__main__.py",
    "command_line.py",
    "disks.py",
    "early.py",
    "kernel.py",
    "network.py",
    "node.py",
    "starting.py",
)
_EMPTY_FOLDERS: Final = ("coterie", "dev", "proc", "run", "sys", "tmp")
_ROOT_DIGEST = re.compile(r"^Root hash:\s+([0-9a-f]{64})$", re.MULTILINE)

_unverified = partial(
    EnvironmentUnfit,
    "the root file system has no verity tree",
    remedy="use veritysetup of Debian's cryptsetup-bin",
)


def lay_out(image: ImageName, folder: Path) -> tuple[StagedFile, ...]:
    """Lays the root's files out in a new folder; the node's are at the enclave images' place.

    Args:
        image: Kind of the nodes.
        folder: The root; must not exist.

    Returns:
        The files of the node's image.

    Raises:
        EnvironmentUnfit: The installation differs from the lock file, or lacks a library.
    """
    lock = Path(coterie.__file__).parent / "requirements.lock"
    sources = [*interpreter_files(), *package_files(DISTRIBUTIONS[image], lock, image)]
    sources += _runtime_files(sources)
    sources += system_libraries(sources, c_library=True)
    home = folder / str(HOME).lstrip("/")
    files = stage(sources, home)
    for name in _EMPTY_FOLDERS:
        (folder / name).mkdir()
    (folder / LINKER).parent.mkdir()
    shutil.copyfile(HOST_LINKER, folder / LINKER)
    (folder / LINKER).chmod(0o755)
    (folder / "etc").mkdir()
    shutil.copyfile(home / "etc" / "hosts", folder / "etc" / "hosts")
    (folder / "etc" / "resolv.conf").symlink_to("/run/resolv.conf")
    return files


def _runtime_files(sources: list[SourceFile]) -> list[SourceFile]:
    """The guest's own programs, beside the package's other files."""
    here = Path(__file__).parent
    (site,) = {
        PurePosixPath(*file.target.parts[: file.target.parts.index("coterie")])
        for file in sources
        if file.target.match("site-packages/coterie/errors.py")
    }
    return [SourceFile(here / name, site / "coterie" / here.name / name) for name in _RUNTIME]


def make_root(folder: Path, image: Path) -> VerifiedRoot:
    """Packs the laid-out files, and appends the tree of their digests.

    Args:
        folder: The root.
        image: The new file: data blocks, then the tree.

    Raises:
        EnvironmentUnfit: A tool is missing or fails.
    """
    run_tool(
        "mksquashfs",
        [
            *(str(folder), str(image), "-noappend", "-quiet", "-no-progress", "-no-xattrs"),
            *("-all-root", "-no-exports", "-mkfs-time", "0", "-all-time", "0"),
            *("-comp", "zstd", "-Xcompression-level", "9", "-b", "128K"),
        ],
    )
    octets = image.stat().st_size
    if octets % BLOCK_BYTES:
        raise _unverified(f"a multiple of {BLOCK_BYTES} bytes", f"{octets}")
    tree = image.with_name(image.name + ".tree")
    said = run_tool(
        "veritysetup",
        [
            *("format", "--no-superblock", "--hash=sha256", "--salt=-"),
            *(f"--data-block-size={BLOCK_BYTES}", f"--hash-block-size={BLOCK_BYTES}"),
            *(str(image), str(tree)),
        ],
    )
    digest = _ROOT_DIGEST.search(said)
    if digest is None:
        raise _unverified("a root hash", said[:200])
    with image.open("ab") as file, tree.open("rb") as appended:
        shutil.copyfileobj(appended, file)
    tree.unlink()
    return VerifiedRoot(bytes.fromhex(digest.group(1)), octets // BLOCK_BYTES)
