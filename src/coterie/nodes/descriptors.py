"""File descriptors: raises the limit, and checks that strangers cannot exhaust them.

Every port bounds what strangers can hold. This module checks that the rest is enough for the node
itself: its checkpoints, data, libraries, and the connections of the contract's nodes.
"""

from __future__ import annotations

import resource
from contextlib import suppress

from coterie.errors import EnvironmentUnfit

OWN = 256  # of the program: libraries, open files, pipes, gRPC's own descriptors


def make_room(needed: int) -> None:
    """Raises this process's soft limit to its hard limit, and checks that it is enough.

    Args:
        needed: How many descriptors strangers, nodes and the program itself may hold at once.

    Raises:
        EnvironmentUnfit: The hard limit is lower.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # some systems do not allow a change
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        raise EnvironmentUnfit(
            "this process may open too few files and connections",
            expected=f"a limit of {needed} descriptors or more",
            seen=f"{soft}",
            remedy="raise it: ulimit -n, LimitNOFILE= of systemd, --ulimit nofile= of containers",
        )
