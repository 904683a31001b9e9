"""The in-memory fabric: all nodes in one process, as threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from typing_extensions import override

from coterie.contract import Contract, Node
from coterie.errors import CoterieError, PeerUnreachable
from coterie.nodes.fabric import Service, UnattestedFabric
from coterie.ps.caller import Caller
from coterie.ps.in_process import InProcess
from coterie.ps.methods import Port
from coterie.ps.ports import DataReceiverPort, ParameterServerPort
from coterie.ps.service import ParameterService


class InProcessHub:
    """The registry by which the nodes of one process find each other."""

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        # Guards what follows; notified at registration and failure.
        self._changed = threading.Condition()
        self._services: dict[str, tuple[type[Port], Service]] = {}
        self._failure: CoterieError | None = None

    def register(self, node: str, table: type[Port], service: Service) -> None:
        """Registers a service of a table's calls under its node's name."""
        with self._changed:
            self._services[node] = table, service
            failure = self._failure
            self._changed.notify_all()
        if failure is not None:
            service.fail(failure)

    def fail(self, error: CoterieError) -> None:
        """Ends the run: waiting nodes get ``error``, and so do the server's callers."""
        with self._changed:
            self._failure = self._failure or error
            services = list(self._services.values())
            self._changed.notify_all()
        for _, service in services:
            service.fail(error)

    def find(self, node: str, table: type[Port], seconds: float) -> Service:
        """Waits at most ``seconds`` for a node's service of a table's calls.

        Raises:
            PeerUnreachable: It was not registered in time, or serves other calls.
            CoterieError: The run has failed meanwhile.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._failure or node in self._services, seconds)
            if self._failure is not None:
                raise self._failure
            if node not in self._services:
                raise PeerUnreachable(f"node {node} did not come within {seconds:g} s")
            served, service = self._services[node]
            if served is not table:
                raise PeerUnreachable(f"node {node} does not serve {table.__name__}")
            return service


class InProcessFabric(UnattestedFabric):
    """A Fabric over a hub.

    Args:
        hub: Shared by all nodes of the process.
        node: The node that uses this fabric.
    """

    def __init__(self, hub: InProcessHub, node: Node) -> None:
        self._hub = hub
        super().__init__(node)
        self._caller = Caller(node.name, node.role, incarnation=1)

    @override
    @contextmanager
    def serve_parameter_server(self, service: ParameterService) -> Iterator[None]:
        self._hub.register(self._node.name, ParameterServerPort, service)
        yield

    @override
    @contextmanager
    def serve_data_receiver(self, service: Service) -> Iterator[None]:
        self._hub.register(self._node.name, DataReceiverPort, service)
        yield

    @override
    def parameter_server(
        self, shard: int, patience_seconds: float | None = None
    ) -> ParameterServerPort:
        contract = self._hub.contract
        node = contract.by_role("ps")[shard].name
        service = self._hub.find(
            node, ParameterServerPort, patience_seconds or contract.limits.join_seconds
        )
        return ParameterServerPort(InProcess(service, self._caller))

    @override
    def data_receiver(self, worker: str, patience_seconds: float) -> DataReceiverPort:
        service = self._hub.find(worker, DataReceiverPort, patience_seconds)
        return DataReceiverPort(InProcess(service, self._caller))

    def close(self) -> None:
        """Does nothing: the hub holds no connections."""
