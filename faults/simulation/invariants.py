"""What must hold after every event of a schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coterie.errors import CoterieError, PeerUnreachable, StepRefused
from coterie.ps.core.run import Run
from coterie.ps.wire import ps_pb2 as pb
from coterie.ps.wire.frames import ExchangeReply
from coterie.runs import events
from faults.simulation.nodes import Call, Server, Worker
from faults.simulation.scenario import GRACE_SECONDS
from faults.simulation.tiny import TinyState

if TYPE_CHECKING:
    from faults.simulation.world import World

_Decided = tuple[tuple[tuple[int, int, int], ...], tuple[float, ...]]


class Broken(Exception):
    """An invariant does not hold."""


class Invariants:
    """Looks at servers after every event, and at all that they tell.

    exactly once      Steps follow one another without a gap. Each has at most one push of a worker, which
                      the worker made for this very step.
    one model         In one life of the server all shards apply the same pushes with the same weights, and
                      are in the same state after the same step.
    quorum            Who has examples in a step takes part, unless the run has a quorum, enough others take
                      part, and the step has waited for the grace period or went on without it before.
    durable           What is announced lies on the disk of every shard, under the digests that make the one
                      that is announced. Announced steps grow.
    no rollback       No life of the server begins before a checkpoint that was announced to anybody, nor
                      with another state than the shards' disks hold; all shards begin at one step.
    the end           Nobody hears of the last step before it is durable everywhere. Who has heard of it
                      never finds the run before its end again.
    no error          Nothing ends a run, or is refused but for being late.
    liveness          When faults have stopped, the run ends, with every worker's every step applied, and
                      with the undisturbed run's model where nobody was left out.

    Args:
        world: The run.
        expected: The digest of the undisturbed run's model.
    """

    def __init__(self, world: World, expected: bytes | None) -> None:
        self._world = world
        self._expected = expected
        self._announced = 0
        self._announced_run = ""
        self._run_id = ""
        self._decided: dict[tuple[int, int], _Decided] = {}
        self._values: dict[tuple[int, int], int] = {}
        self._begun: dict[int, int] = {}
        self._seen: dict[int, tuple[Run | None, int]] = {}
        self._progress: dict[int, tuple[Run | None, float, frozenset[int]]] = {}
        self._participants = tuple(range(world.scenario.workers))

    # --- after every event ---------------------------------------------------------------------

    def check(self, server: Server) -> None:
        """Looks at a server.

        Raises:
            Broken: Something does not hold.
        """
        core = server.core
        if core is None:
            return
        if core.failure is not None:
            raise Broken(f"{server.name} failed: {core.failure}") from core.failure
        run = core.run
        if run is None:
            return
        known, step = self._seen.get(server.shard, (None, -1))
        if run is known and run.state.step == step:
            return
        state = run.state
        assert isinstance(state, TinyState)
        life = run.incarnation
        if run is not known:
            self._check_begin(server, state, life)
            step = state.step
        elif state.step < step:
            raise Broken(f"{server.name} went back from step {step} to {state.step} in one life")
        self._check_steps(server, run, state, life, step)
        self._seen[server.shard] = (run, state.step)
        if server.shard == 0 and run.coordinator is not None:
            self._progress[0] = (run, run.progress_at, run.coordinator.absent)

    def _check_begin(self, server: Server, state: TinyState, life: int) -> None:
        core = server.core
        assert core is not None
        if state.step < self._announced:
            raise Broken(
                f"{server.name} goes on from step {state.step}; {self._announced} was announced"
            )
        if self._begun.setdefault(life, state.step) != state.step:
            raise Broken(
                f"{server.name} begins life {life} at step {state.step}, another shard at "
                f"{self._begun[life]}"
            )
        if state.step:
            kept = server.disk.manifests.get(state.step)
            if kept is None or kept.snapshot.value != state.value:
                raise Broken(f"{server.name} begins with a state that is not on its disk")
        if self._values.setdefault((life, state.step), state.value) != state.value:
            raise Broken(f"{server.name} begins life {life} with another state than another shard")

    def _check_steps(
        self, server: Server, run: Run, state: TinyState, life: int, step: int
    ) -> None:
        """The steps that were applied since it was looked at last, oldest first."""
        newest = state.applied
        if state.step == step or newest is None:
            return
        following = state.step
        for applied in newest.all():
            following -= 1
            if applied.step != following:
                raise Broken(
                    f"{server.name} applied step {applied.step} in the place of {following}"
                )
            if following < step:
                break
            workers = applied.workers
            if len(set(workers)) != len(workers):
                raise Broken(f"{server.name} applied a worker's push twice in step {following}")
            if any(of != following for _, of, _ in applied.pushes):
                raise Broken(f"{server.name} applied a push of another step in step {following}")
            decided = (applied.pushes, applied.weights)
            if self._decided.setdefault((life, following), decided) != decided:
                raise Broken(f"shards applied step {following} of life {life} differently")
            if server.shard == 0:
                self._check_quorum(run, following, workers)
        if self._values.setdefault((life, state.step), state.value) != state.value:
            raise Broken(f"shards are in different states after step {state.step} of life {life}")

    def _check_quorum(self, run: Run, step: int, workers: tuple[int, ...]) -> None:
        missing = set(self._participants) - set(workers)
        if not missing:
            return
        quorum = self._world.scenario.quorum
        if quorum is None or len(workers) < quorum:
            raise Broken(f"step {step} was applied without {sorted(missing)}")
        known, progress_at, absent = self._progress.get(0, (None, 0.0, frozenset()))
        if known is run and missing - absent and self._world.now - progress_at < GRACE_SECONDS:
            waited = self._world.now - progress_at
            raise Broken(f"step {step} went on without {sorted(missing)} after {waited:.3f} s")

    # --- what is told --------------------------------------------------------------------------

    def check_told(self, server: Server, event: events.Event) -> None:
        """Looks at what a server tells."""
        match event:
            case events.CheckpointWritten(step, digest) if server.shard == 0:
                self._check_announced(server, step, digest)
            case events.Begun(run) if server.shard == 0:
                if self._announced:
                    raise Broken(f"a run begins anew; step {self._announced} was announced")
                self._run_id = run
            case events.Resumed(step, digest, run) if server.shard == 0:
                if run != self._run_id:
                    raise Broken(f"{server.name} goes on with another run")
                if step > self._announced:
                    self._check_announced(server, step, digest)

    def _check_announced(self, server: Server, step: int, digest: str) -> None:
        if step <= self._announced:
            raise Broken(f"step {step} is announced after step {self._announced}")
        del digest
        values = set()
        for other in self._world.servers:
            kept = other.disk.manifests.get(step)
            if kept is None or kept.record.run_id != self._run_id:
                raise Broken(
                    f"{server.name} announces step {step}, which {other.name} does not hold"
                )
            values.add(kept.snapshot.value)
        if len(values) > 1:
            raise Broken(f"step {step} is announced with different states on the shards")
        self._announced = step

    def check_answer(self, server: Server, call: Call, reply: object) -> None:
        """Looks at a reply that arrives."""
        steps = self._world.scenario.steps
        if isinstance(reply, ExchangeReply) and not reply.pending:
            self._check_told_end(call, reply.step)
            if reply.durable is not None and reply.durable.step > self._announced:
                raise Broken(f"{server.name} tells of a checkpoint that was not announced")
        elif isinstance(reply, pb.JoinReply) and not reply.pending and server.shard == 0:
            worker = self._worker(call)
            if worker is not None and worker.told_end and reply.step < steps:
                raise Broken(f"{worker.name} was told the end, and finds the run at {reply.step}")

    def _check_told_end(self, call: Call, step: int) -> None:
        if step >= self._world.scenario.steps > self._announced and call.server == 0:
            raise Broken(f"{call.asker.name} hears of the last step before it is durable")

    def check_refusal(self, call: Call, error: CoterieError) -> None:
        """Looks at an error that arrives."""
        if not isinstance(error, StepRefused | PeerUnreachable):
            raise Broken(f"{call.asker.name}'s {call.what} was refused: {error!r}") from error

    def _worker(self, call: Call) -> Worker | None:
        return next((w for w in self._world.workers if w is call.asker), None)

    # --- at the end ----------------------------------------------------------------------------

    def check_end(self) -> None:
        """The run is over."""
        outcome, steps = self._world.outcome, self._world.scenario.steps
        if outcome is None:
            raise Broken("the run is over without an outcome")
        if outcome.steps != steps or self._announced != steps:
            raise Broken(f"the run ended after {outcome.steps} steps, announced {self._announced}")
        if self._expected is None or outcome.absences:
            return
        if outcome.model_digest != self._expected:
            raise Broken("another model than the undisturbed run's")
