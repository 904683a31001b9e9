"""Addresses on loopback that nobody listens at."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack

_PORTS = range(20_000, 30_000, 2)  # below those that the system gives to whoever dials


def free_address() -> str:
    """An address whose port and the next one are free: a node listens on both."""
    (address,) = free_addresses(1)
    return address


def free_addresses(count: int) -> list[str]:
    """So many of them, each with the next port."""
    found: list[str] = []
    with ExitStack() as stack:
        # Not by the seed that pytest-randomly gives every test: neighbours would choose alike.
        for port in random.SystemRandom().sample(_PORTS, len(_PORTS)):
            if len(found) == count:
                break
            with ExitStack() as both:
                try:
                    for one in (port, port + 1):
                        both.enter_context(socket.create_server(("127.0.0.1", one)))
                except OSError:
                    continue
                stack.enter_context(both.pop_all())
                found.append(f"127.0.0.1:{port}")
    return found
