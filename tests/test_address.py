"""Addresses: what is one, which ports go together, and both families on both of them."""

from __future__ import annotations

import socket

import pytest

from coterie.address import Address
from coterie.errors import ContractInvalid
from coterie.ratls.listener import bound, listen, plain_host


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:7440", "127.0.0.1", 7440),
        ("[::1]:7440", "::1", 7440),
        ("[::]:0", "::", 0),
        ("[fe80::1%eth0]:7440", "fe80::1%eth0", 7440),
        ("ps0.runs.example:65535", "ps0.runs.example", 65535),
        ("ps_0:1", "ps_0", 1),
        ("localhost:7440", "localhost", 7440),
    ],
)
def test_what_is_an_address(text: str, host: str, port: int) -> None:
    assert Address.parse(text) == Address(host, port)
    assert str(Address.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        *("http://127.0.0.1", "http://127.0.0.1:7440", "https://ps0:7440", "grpc://ps0:1"),
        *("127.0.0.1", "127.0.0.1:", ":7440", "127.0.0.1:7440/", "ps0:65536", "ps0:-1"),
        *("a b:7440", "a:b:7440", "[::1:7440", "[ps0]/x:1", "-ps0:1", "ps0,ps1:1", "ps\u00b90:1"),
    ],
)
def test_what_is_none_is_refused_at_once(text: str) -> None:
    with pytest.raises(ContractInvalid) as error:
        Address.parse(text)
    assert error.value.what.endswith("is not an address")
    assert error.value.seen == text
    assert "http://" in error.value.remedy


def test_the_last_port_has_none_after_it() -> None:
    assert Address("h", 65534).following() == Address("h", 65535)
    assert Address("h", 0).following() == Address("h", 0)
    with pytest.raises(ContractInvalid, match="cannot listen at 127") as error:
        Address("127.0.0.1", 65535).following()
    assert error.value.expected == "a port up to 65534: the one after it is used, too"


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize("host", ["::", "0.0.0.0"])
@pytest.mark.parametrize("dialled", ["127.0.0.1", "::1"])
def test_wildcards_are_dialled_by_both_families(host: str, dialled: str) -> None:
    with listen(Address(host, 0)) as listener:
        with socket.create_connection((dialled, bound(listener).port), timeout=10):
            connection, remote = listener.accept()
            connection.close()
        assert plain_host(remote[0]) == dialled
        with pytest.raises(OSError, match="in use"):
            socket.create_server(("127.0.0.1", bound(listener).port))


def test_a_name_stands_for_one_address_which_is_told() -> None:
    with listen(Address("localhost", 0)) as listener:
        assert bound(listener).host == "127.0.0.1"
