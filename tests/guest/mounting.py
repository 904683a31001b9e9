"""Reads a disk of a host's that has links out of it: ``unshare -rm python -m tests.guest.mounting FOLDER``.

The disk is a file system in memory, mounted as the guest mounts a host's, in the new name space. What
came of each try to follow a link is printed, one a line.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from coterie.guest import kernel


def main() -> None:
    """Does it."""
    top = Path(sys.argv[1])
    disk, out, secret = top / "disk", top / "out", top / "secret"
    disk.mkdir()
    out.mkdir()
    secret.write_text("the guest's own")
    kernel.mount("tmpfs", str(disk), flags=kernel.HOSTS_FILES)
    kept = disk / "out"
    kept.mkdir()
    (kept / "plain").write_text("plain")
    (kept / "link").symlink_to(secret)
    (disk / "memory").symlink_to(top)
    kernel.mount("none", str(out), source=str(kept), flags=kernel.BIND)
    tries: tuple[Callable[[], object], ...] = (
        (out / "plain").read_text,
        (kept / "link").read_text,
        (out / "link").read_text,
        lambda: (out / "link").write_text("overwritten"),
        lambda: kernel.mount("none", str(out), source=str(disk / "memory"), flags=kernel.BIND),
    )
    for one in tries:
        try:
            print(one())
        except OSError as error:
            print(type(error).__name__, error.errno)


if __name__ == "__main__":
    main()
