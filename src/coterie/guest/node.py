"""The node's process in a guest: a program of its own, since it may have to start itself again.

A TensorFlow program's node does so with the native part in front of its C library.
"""

from __future__ import annotations

import sys
from pathlib import Path

from coterie.enclave.__main__ import run
from coterie.guest.command_line import GUEST_KINDS


def main(arguments: list[str], *, root: Path = Path("/")) -> int:
    """Starts the node that the host's inputs name.

    Args:
        arguments: The kind of TEE of the kernel's command line, which is measured.
        root: Root of the file tree.

    Returns:
        The process's exit code, as in ``coterie.errors``.
    """
    kinds = tuple(kind for kind in GUEST_KINDS if [kind] == arguments)
    return run(kinds, root)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
