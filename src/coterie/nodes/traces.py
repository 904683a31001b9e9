"""Whether a node may send traces, and sending them; loads OpenTelemetry only for a node that does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from coterie.contract import Contract, Node
from coterie.errors import ContractInvalid, EnvironmentUnfit

if TYPE_CHECKING:
    from coterie.nodes.otlp import NodeTraces


def check_traces(contract: Contract, url: str) -> None:
    """Checks that a node may send traces, and that nobody can read them on the way.

    Raises:
        ContractInvalid: The contract does not allow it, or the address is not usable.
    """
    if not contract.results.traces:
        raise ContractInvalid(
            "--traces-to has no meaning under this contract",
            expected="results.traces = true, which all parties agree on",
            seen="a contract without it",
            remedy="leave --traces-to out, or agree on a contract that allows traces",
        )
    if not _is_usable(url):
        raise ContractInvalid(
            "the address for traces is not usable",
            expected="https://HOST[:PORT], or http:// and an address of this machine",
            seen=url[:200],
            remedy="give the collector a certificate, or run one on this machine that forwards",
        )


def _is_usable(url: str) -> bool:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    if not host or parts.username is not None or parts.query or parts.fragment:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and _on_loopback(host))


def _on_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@contextmanager
def sending_traces(contract: Contract, node: Node, url: str) -> Iterator[NodeTraces]:
    """Sends the spans of a node while the context is open; at its end, what waits, for some seconds.

    Args:
        contract: The contract.
        node: The node.
        url: The collector's address, without the path ``v1/traces``.

    Raises:
        ContractInvalid: As ``check_traces``.
        EnvironmentUnfit: The optional packages are not installed, or refuse their variables.
    """
    check_traces(contract, url)
    with ExitStack() as stack:
        try:
            from coterie.nodes.otlp import collected

            traces = stack.enter_context(collected(contract, node, url))
        except ImportError as error:
            raise EnvironmentUnfit(
                "traces cannot be sent from here",
                expected="the optional packages of coterie[traces]",
                seen=f"no module named {error.name}",
                remedy="pip install 'coterie[traces]', or leave out --traces-to",
            ) from error
        except ValueError as error:  # by its variables for limits, which it reads itself
            raise EnvironmentUnfit(
                "OpenTelemetry cannot be set up here",
                expected="variables OTEL_... whose values it takes",
                seen=str(error)[:200],
                remedy="correct the variable, or leave out --traces-to",
            ) from error
        yield traces
