"""The guest's network: one interface with an address that the host chooses, in ``network.toml``.

The host carries every packet anyway, so none of it is trusted. No program listens but the node.
"""

from __future__ import annotations

import ctypes
import fcntl
import ipaddress
import socket
import struct
import tomllib
from functools import partial
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from coterie.errors import EnvironmentUnfit, reason
from coterie.files import read_bounded

_MAX_BYTES = 1 << 16
# Linux, include/uapi/linux/sockios.h, if.h, route.h.
_ADD_ROUTE = 0x890B
_SET_FLAGS = 0x8914
_SET_ADDRESS = 0x8916
_SET_MASK = 0x891C
_UP_AND_RUNNING = 0x1 | 0x40
_ROUTE_UP, _ROUTE_GATEWAY, _ROUTE_HOST = 0x1, 0x2, 0x4
_SOCKADDR = struct.Struct("=H H 4s 8x")  # family, port, address
# struct rtentry; its only pointer that counts is the device's name, after the metric.
_ROUTE = struct.Struct("@L 16s 16s 16s H h L P h P L L H")
_REQUEST_BYTES = 128
_NOWHERE = ipaddress.IPv4Address(0)
_EVERY_BIT = ipaddress.IPv4Address("255.255.255.255")

_unfit = partial(
    EnvironmentUnfit,
    "what the host says of the guest's network, network.toml, cannot be used",
    expected="TOML with address, and where needed gateway and nameservers",
    remedy="write the file again; docs/deployment.md shows one",
)


class NetworkInputs(BaseModel):
    """The content of ``network.toml``.

    Attributes:
        address: Address and length of the network's prefix, as ``10.0.0.5/24``; IPv4.
        gateway: The router to all other networks; need not be in the own one.
        nameservers: Addresses of name servers, at most three.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: ipaddress.IPv4Interface
    gateway: ipaddress.IPv4Address | None = None
    nameservers: Annotated[tuple[ipaddress.IPv4Address, ...], Field(max_length=3)] = ()

    def resolver(self) -> str:
        """The text of ``resolv.conf``."""
        return "".join(f"nameserver {server}\n" for server in self.nameservers)


def read_network(path: Path) -> NetworkInputs:
    """Reads ``network.toml``.

    Raises:
        EnvironmentUnfit: It cannot be read, is too large, or has other content.
    """
    try:
        text = read_bounded(path, _MAX_BYTES)
        if len(text) > _MAX_BYTES:
            raise _unfit(seen=f"more than {_MAX_BYTES} bytes")
        return NetworkInputs.model_validate(tomllib.loads(text.decode()))
    except OSError as error:
        raise _unfit(seen=reason(error)) from error
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(str(part) for part in problem["loc"])
        raise _unfit(seen=f"{key}: {problem['msg']}") from error
    except (ValueError, RecursionError) as error:
        raise _unfit(seen=str(error)[:300]) from error


def set_up_loopback() -> None:
    """Lets the guest reach itself.

    Raises:
        EnvironmentUnfit: The kernel refuses.
    """
    _configure("lo", NetworkInputs(address=ipaddress.IPv4Interface("127.0.0.1/8")))


def set_up(inputs: NetworkInputs, interfaces: Path) -> str:
    """Gives the only network device its address.

    Args:
        inputs: The host's settings.
        interfaces: The kernel's list of network devices, ``/sys/class/net``.

    Returns:
        The device's name.

    Raises:
        EnvironmentUnfit: There is no device, there are several, or the kernel refuses.
    """
    found = sorted(entry.name for entry in interfaces.iterdir() if (entry / "device").exists())
    if len(found) != 1:
        raise EnvironmentUnfit(
            "the guest does not know which network device to use",
            expected="one network device",
            seen=" ".join(found) or "none",
            remedy="start the guest with one network device",
        )
    _configure(found[0], inputs)
    return found[0]


def _configure(name: str, inputs: NetworkInputs) -> None:
    device = name.encode().ljust(16, b"\0")
    _ask(_SET_ADDRESS, device + _sockaddr(inputs.address.ip))
    _ask(_SET_MASK, device + _sockaddr(inputs.address.netmask))
    _ask(_SET_FLAGS, device + struct.pack("=H", _UP_AND_RUNNING))
    if inputs.gateway is None:
        return
    if inputs.gateway not in inputs.address.network:
        _add_route(name, inputs.gateway, _NOWHERE, _EVERY_BIT, _ROUTE_HOST)
    _add_route(name, _NOWHERE, inputs.gateway, _NOWHERE, _ROUTE_GATEWAY)


def _add_route(
    name: str,
    target: ipaddress.IPv4Address,
    gateway: ipaddress.IPv4Address,
    mask: ipaddress.IPv4Address,
    flags: int,
) -> None:
    device = ctypes.create_string_buffer(name.encode())
    _ask(
        _ADD_ROUTE,
        _ROUTE.pack(
            *(0, _sockaddr(target), _sockaddr(gateway), _sockaddr(mask)),
            *(_ROUTE_UP | flags, 0, 0, 0, 0, ctypes.addressof(device), 0, 0, 0),
        ),
    )


def _sockaddr(address: ipaddress.IPv4Address) -> bytes:
    return _SOCKADDR.pack(socket.AF_INET, 0, address.packed)


def _ask(number: int, argument: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            fcntl.ioctl(asked, number, argument.ljust(_REQUEST_BYTES, b"\0"))
        except OSError as error:
            raise _unfit(seen=f"the kernel says: {reason(error)}") from error
