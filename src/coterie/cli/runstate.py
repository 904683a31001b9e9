"""The state of a running run: a pure function from its events to the values that a view shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from coterie.contract import Contract
from coterie.runs import events
from coterie.runs.event_format import describe_event

Standing = Literal[
    "waiting", "loading", "ready", "joined", "training", "left out", "finished", "failed"
]
_PACE_STEPS = 50
_BEFORE: tuple[Standing, ...] = ("waiting", "loading", "ready", "joined")


@dataclass(frozen=True)
class NodeState:
    """A node as its events show it.

    Attributes:
        name: Its name.
        role: Its role.
        party: Its party.
        standing: Its progress in words.
        attestation: TCB status and measurement that its peers verified; empty before.
        judges: Number of peers that have attested it.
        refusals: Number of peers and calls that it refused.
    """

    name: str
    role: str
    party: str
    standing: Standing = "waiting"
    attestation: str = ""
    judges: frozenset[str] = frozenset()
    refusals: int = 0


@dataclass(frozen=True)
class _Pace:
    step: int
    seconds: float
    examples: int


@dataclass(frozen=True)
class RunState:
    """A run so far.

    Attributes:
        nodes: The nodes by name, in contract order.
        step: Updates applied.
        steps: Steps of the whole run; 0 before they are known.
        loss: Mean loss over the last steps; None if not reported.
        accuracy: Mean accuracy likewise; None if not reported.
        validation_loss: Loss of the newest validation; None if not reported.
        validation_auc: AUC likewise; at the end, of the trained model.
        test_auc: Test AUC, once the run was evaluated.
        warning: An important warning, or empty.
        latest: The last event other than a step, as a sentence.
    """

    nodes: Mapping[str, NodeState] = field(default_factory=dict)
    step: int = 0
    steps: int = 0
    loss: float | None = None
    accuracy: float | None = None
    validation_loss: float | None = None
    validation_auc: float | None = None
    test_auc: float | None = None
    warning: str = ""
    latest: str = ""
    recent: tuple[_Pace, ...] = ()

    @staticmethod
    def of(contract: Contract) -> RunState:
        """The state before any event."""
        return RunState(
            {node.name: NodeState(node.name, node.role, node.party) for node in contract.nodes}
        )

    @property
    def examples_per_second(self) -> float | None:
        """Examples per second over the last steps."""
        if len(self.recent) < 2:
            return None
        seconds = self.recent[-1].seconds - self.recent[0].seconds
        return sum(p.examples for p in self.recent[1:]) / seconds if seconds > 0 else None

    @property
    def seconds_left(self) -> float | None:
        """Seconds of training that are left at the pace of the last steps."""
        if len(self.recent) < 2 or not self.steps:
            return None
        first, last = self.recent[0], self.recent[-1]
        pace = (last.seconds - first.seconds) / max(1, last.step - first.step)
        return pace * (self.steps - self.step)

    def after(self, event: events.Event) -> RunState:
        """The state after an event."""
        if isinstance(event, events.StepDone):
            return self._after_step(event)
        if isinstance(event, events.Finished):
            return replace(
                self,
                nodes={
                    name: replace(node, standing="finished")
                    if node.standing not in ("failed", "left out")
                    else node
                    for name, node in self.nodes.items()
                },
                validation_auc=_number(event.result.get("validation_auc")),
                test_auc=_number(event.result.get("test_auc")),
            )
        if isinstance(event, events.WorkerProgress):  # the server's steps say more
            return self
        return replace(self._after_other(event), latest=describe_event(event))

    def _after_step(self, done: events.StepDone) -> RunState:
        recent = (*self.recent, _Pace(done.step, done.seconds, done.examples))[-_PACE_STEPS:]
        if self.recent and done.seconds < self.recent[-1].seconds:
            recent = recent[-1:]  # the server restarted, and its clock with it
        share = 1 / min(len(recent), 10)
        state = self
        if any(node.standing in _BEFORE for node in self.nodes.values()):
            state = replace(
                self,
                nodes={
                    name: replace(node, standing="training") if node.standing in _BEFORE else node
                    for name, node in self.nodes.items()
                },
            )
        return replace(
            state,
            step=done.step,
            steps=done.steps,
            loss=_moving(self.loss, done.loss, share),
            accuracy=_moving(self.accuracy, done.accuracy, share),
            recent=recent,
        )

    def _after_other(self, event: events.Event) -> RunState:  # noqa: PLR0911, PLR0912 (one line per kind)
        match event:
            case events.Started(node, _, _):
                return self._with(node, standing="loading")
            case events.Listening(node, _):
                return self._with(node, standing="ready")
            case events.Joined(node, _):
                return self._with(node, standing="training" if self.step else "joined")
            case events.Attested() as seen:
                judges = self.nodes[seen.peer].judges if seen.peer in self.nodes else frozenset()
                return self._with(
                    seen.peer,
                    attestation=f"{seen.tcb_status} {seen.measurement[:8]}".strip(),
                    judges=judges | {seen.node},
                )
            case events.Refused(node, _, _):
                refusals = self.nodes[node].refusals if node in self.nodes else 0
                return self._with(node, refusals=refusals + 1)
            case events.LeftOut(node, _):
                return self._with(node, standing="left out")
            case events.Returned(node, _):
                return self._with(node, standing="training")
            case events.Resumed(step=step) | events.Restarted(step=step):
                return replace(self, step=step, recent=())
            case events.ValidationDone(log_loss=loss, auc=auc):
                return replace(self, validation_loss=loss, validation_auc=auc)
            case events.Overfitting():
                return replace(self, warning=describe_event(event))
            case events.StoppedEarly(step=step):
                return replace(self, step=step, steps=step)
            case events.WorkerTimes(node=node) | events.ServerTimes(node=node):
                return self._with(node, standing="finished")
            case events.Failed(node, _, _):
                return self._with(node, standing="failed")
            case _:
                return self

    def _with(
        self,
        name: str,
        *,
        standing: Standing | None = None,
        attestation: str | None = None,
        judges: frozenset[str] | None = None,
        refusals: int | None = None,
    ) -> RunState:
        node = self.nodes.get(name)
        if node is None:
            return self
        changed = replace(
            node,
            standing=node.standing if standing is None else standing,
            attestation=node.attestation if attestation is None else attestation,
            judges=node.judges if judges is None else judges,
            refusals=node.refusals if refusals is None else refusals,
        )
        return replace(self, nodes={**self.nodes, name: changed})


def _moving(before: float | None, value: float | None, share: float) -> float | None:
    if value is None or before is None:
        return before if value is None else value
    return before + share * (value - before)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
