"""Cases in one process: calls are lost, come twice, or come late, on their way to the server."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from coterie.contract import Node
from coterie.data.dataset import open_dataset
from coterie.errors import ModelDamaged, PeerUnreachable
from coterie.nodes.in_process import InProcessFabric, InProcessHub
from coterie.nodes.local import run_local
from coterie.ps.methods import ReplyStream, RequestStream, Transport, Unary
from coterie.ps.ports import ParameterServerPort
from coterie.ps.wire.codecs import Reply, Request
from coterie.runs.events import Event
from coterie.trained.trained_model import MODEL_NAME, PlainModelFile, TrainedModel
from faults.plan import Calls
from faults.scene import Scene


class Trouble:
    """Disturbs calls; safe to use from several threads. Counts what it did."""

    def __init__(self, seed: int, faults: Calls) -> None:
        self._dice = random.Random(seed)  # noqa: S311 (a plan, no secret)
        self._faults = faults
        self._lock = threading.Lock()
        self.counts = dict.fromkeys(("lost_before", "lost_after", "twice", "at_once", "late"), 0)

    def disturb(self, call: Callable[[Request], Reply], request: Request) -> Reply:
        """Makes a call, or does not, or makes it twice."""
        with self._lock:
            drawn = [
                name for name in self.counts if self._dice.random() < getattr(self._faults, name)
            ]
            pause = self._dice.random() * 0.02
            for name in drawn:
                self.counts[name] += 1
        if "lost_before" in drawn:
            raise PeerUnreachable("the call was lost on its way")
        if "late" in drawn:
            time.sleep(pause)  # the fault itself: others overtake this call
        reply = self._repeated(call, request) if "at_once" in drawn else call(request)
        if "twice" in drawn:
            reply = call(request)
        if "lost_after" in drawn:
            raise PeerUnreachable("the reply was lost on its way")
        return reply

    @staticmethod
    def _repeated(call: Callable[[Request], Reply], request: Request) -> Reply:
        with ThreadPoolExecutor(2) as pool:
            answers = [pool.submit(call, request) for _ in range(2)]
        # A copy that comes when others have gone on is refused; the other one was answered.
        good = [answer for answer in answers if answer.exception() is None]
        return (good or answers)[0].result()


class TroubledTransport:
    """Carries calls that are disturbed, but for the last words of a node."""

    def __init__(self, transport: Transport, trouble: Trouble) -> None:
        self._transport = transport
        self._trouble = trouble

    def unary(self, method: Unary[Request, Reply], request: Request) -> Reply:
        """See Transport."""
        if method is ParameterServerPort.tell:
            return self._transport.unary(method, request)
        return self._trouble.disturb(partial(self._transport.unary, method), request)

    def reply_stream(
        self, method: ReplyStream[Request, Reply], request: Request
    ) -> Iterator[Reply]:
        """See Transport."""
        return self._trouble.disturb(partial(self._transport.reply_stream, method), request)

    def request_stream(
        self, method: RequestStream[Request, Reply], requests: Iterable[Request]
    ) -> Reply:
        """See Transport."""
        again = list(requests)
        return self._trouble.disturb(partial(self._transport.request_stream, method), again)

    def close(self) -> None:
        """See Transport."""
        self._transport.close()


def run_with_troubled_calls(calls: Calls, seed: int, scene: Scene) -> tuple[str, str]:
    """Disturbs calls, as the seed says; the model's digest, and how many were disturbed how.

    Raises:
        CoterieError: The run failed.
    """
    trouble = Trouble(seed, calls)

    class Fabric(InProcessFabric):
        """The in-memory fabric, disturbed."""

        def parameter_server(
            self, shard: int, patience_seconds: float | None = None
        ) -> ParameterServerPort:
            """See Fabric."""
            port = super().parameter_server(shard, patience_seconds)
            return ParameterServerPort(TroubledTransport(port.transport, trouble))

    def fabric_of(hub: InProcessHub, node: Node) -> InProcessFabric:
        return Fabric(hub, node)

    with TemporaryDirectory() as scratch:
        keeper = PlainModelFile(Path(scratch) / MODEL_NAME)
        outcome = run_local(
            scene.contract,
            lambda node: open_dataset(
                scene.data / node.party, scene.contract.data, party=node.party
            ),
            _ignore,
            fabric_of=fabric_of,
            keep_model=keeper,
        )
        kept = TrainedModel.read(keeper.path).digest
    if kept != outcome.model_digest:
        raise ModelDamaged("a node kept another model than the outcome names", seen=kept.hex())
    disturbed = [f"{count} {name}" for name, count in trouble.counts.items() if count]
    return outcome.model_digest.hex(), ", ".join(disturbed) or "nothing"


def _ignore(_event: Event) -> None:
    pass
