"""The inspection of calls at one node of a cluster that several parties share."""

from __future__ import annotations

import importlib
from functools import partial

from coterie.contract import Contract, Node
from coterie.errors import CallRefused, CoterieError
from coterie.ratls.refusals import Refused, Tally
from coterie.ratls.traffic_secrets import Taken
from coterie.tensorflow.calls.counts import CallCounts
from coterie.tensorflow.calls.http2 import Budget, CallReader
from coterie.tensorflow.calls.inspected import InspectedConnections
from coterie.tensorflow.calls.rules import GRAPH_BYTES, Task, methods_for

_HELD_BYTES = 2 * GRAPH_BYTES  # what the calls of one peer may hold back together


class Inspection:
    """Judges the calls that other nodes make to this one's TensorFlow.

    Args:
        contract: The contract, of mode hfl.
        node: This node.
        refused: Called for refusals, as `Tally` reports them.

    Attributes:
        counts: Numbers of calls.
    """

    def __init__(self, contract: Contract, node: Node, refused: Refused) -> None:
        assert contract.tensorflow is not None
        self._tasks = {
            one.name: Task(one.role, contract.by_role(one.role).index(one))
            for one in contract.nodes
        }
        self._own = self._tasks[node.name]
        self._operations = frozenset(contract.tensorflow.operations)
        self._tally = Tally(refused)
        self._connections = InspectedConnections()
        self.counts = CallCounts()
        self._budgets = {name: Budget(_HELD_BYTES) for name in self._tasks}

    def start(self) -> None:
        """Starts. Loads TensorFlow, which the judges need: two threads that load it can deadlock."""
        importlib.import_module("tensorflow")
        self._connections.start()

    def stop(self) -> None:
        """Ends all inspected connections."""
        self._connections.stop()
        self._tally.flush()

    def put_between(self, taken: Taken, peer: str) -> Taken:
        """The connection that TensorFlow gets in place of one by which a peer will call it.

        Raises:
            PeerBusy: The peer has too many; this one is closed.
            EnvironmentUnfit: There is no descriptor left; the connection is closed.
        """
        methods = methods_for(self._tasks[peer], peer, self._own, self._operations)
        reader = CallReader(peer, methods, self._budgets[peer], partial(self._passed, peer))
        return self._connections.put_between(taken, reader, peer, partial(self._refused, peer))

    def _passed(self, peer: str, path: str, octets: int) -> None:
        self.counts.add(peer, path.rpartition("/")[2], octets)

    def _refused(self, peer: str, error: CoterieError) -> None:
        if isinstance(error, CallRefused):  # and not a record that is nobody's
            self.counts.refuse(peer)
        self._tally.note(peer, error)
