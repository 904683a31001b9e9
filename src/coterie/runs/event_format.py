"""Events as JSON lines, for logs and for the process that supervises a node."""

from __future__ import annotations

import json
from datetime import datetime

from pydantic import TypeAdapter, ValidationError

from coterie.runs import events
from coterie.text import printable, utc_text

MAX_LINE_BYTES = 1 << 20
_ADAPTERS: dict[str, TypeAdapter[events.Event]] = {
    kind.__name__: TypeAdapter(kind) for kind in events.Event.__subclasses__()
}


def encode_event(event: events.Event, at: datetime) -> str:
    """The event as one line of JSON in ASCII, without the line's end.

    Args:
        event: The event.
        at: Time of the event, UTC.
    """
    return json.dumps({"event": type(event).__name__, "time": utc_text(at), **event.to_dict()})


def decode_event(line: str) -> events.Event | None:
    """The event that a line holds, or None if the line is not an event."""
    if not line.startswith("{") or len(line) > MAX_LINE_BYTES:
        return None
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    kind, _ = value.pop("event", None), value.pop("time", None)
    adapter = _ADAPTERS.get(kind) if isinstance(kind, str) else None
    if adapter is None:
        return None
    try:
        return adapter.validate_python(value)
    except ValidationError:
        return None


def describe_event(event: events.Event) -> str:
    """The event as one line for people. Control characters from peers are made harmless."""
    return printable(_sentence(event), None)


def _sentence(event: events.Event) -> str:  # noqa: PLR0911, PLR0912 (one line per kind of event)
    match event:
        case events.Started(node, role, party):
            return f"{node} started ({role} of {party})"
        case events.RecordLayer(node, openssl, aes, hint):
            more = f"; {hint}" if hint else ""
            return f"{node} seals TensorFlow's connections with {openssl}, {aes}{more}"
        case events.Listening(node, address):
            return f"{node} listens on {address}"
        case events.Joined(node=node, missing=missing):
            waiting = f"; waiting for {', '.join(missing)}" if missing else "; all have come"
            return f"{node} joined{waiting}"
        case events.StepDone() as done:
            return f"step {done.step}/{done.steps}, {_loss(done)}{done.seconds:.1f} s"
        case events.ValidationDone() as done:
            return f"validation at step {done.step}: {_validation(done)}"
        case events.OwnQuality() as own:
            return f"{own.node}: {own.examples:,} test rows of {own.party}: {_quality(own)}"
        case events.Overfitting(step):
            return (
                f"step {step}: training loss falls, validation loss rises: the model learns its training "
                "rows by heart; fewer epochs, training.validation.patience or lower rates help"
            )
        case events.StoppedEarly(step, best):
            return f"training ends after step {step}: no validation was better than step {best}'s"
        case events.CheckpointWritten(step, digest):
            return f"checkpoint at step {step}, {digest[:16]}"
        case events.Begun(run):
            return f"run {run[:16]} begins"
        case events.StartTaken(node, model, step, _, changes):
            more = f"; {changes}" if changes else ""
            return (
                f"the run goes on from step {step} of model {model[:16]}, which {node} gave{more}"
            )
        case events.Resumed(step, digest):
            return f"resumed from step {step}, {digest[:16]}"
        case events.ExamplesDelivered(node, examples):
            return f"{node} holds {examples:,} examples"
        case events.Attested(node, peer, role, party, tcb_status, measurement):
            return f"{node} attested {peer} ({role} of {party}): {tcb_status}, {measurement[:16]}"
        case events.Refused(node, error, reason, count):
            times = f" {count} times" if count > 1 else ""
            return f"{node} refused a peer{times}: {error}: {reason}"
        case events.LeftOut(node, step):
            return f"{node} is left out from step {step} on: it stayed away too long"
        case events.Returned(node, step):
            return f"{node} takes part again from step {step} on"
        case events.Restarted(node, step):
            return f"{node} went back to step {step}: a shard had lost its state"
        case events.WorkerTimes() as times:
            return (
                f"{times.node}: {times.steps} steps; compute {times.compute:.1f} s, "
                f"transport {times.transport:.1f} s, server {times.server:.1f} s, "
                f"waiting {times.wait:.1f} s, data {times.prepare:.1f} s"
            )
        case events.ServerTimes() as times:
            return (
                f"{times.node}: {times.steps} steps; decode {times.decode:.1f} s, "
                f"apply {times.apply:.1f} s, read {times.read:.1f} s; "
                f"workers waited {times.wait:.1f} s"
            )
        case events.ModelKept(node, path, digest):
            return f"{node} keeps the trained model {digest[:16]} in {path}"
        case events.OptimizerStateKept(node, path, digest):
            return f"{node} keeps the optimizers' state {digest[:16]} in {path}"
        case events.ModelNotKept(node):
            return f"{node} may keep the trained model but has no --out: it does not"
        case events.DoneBefore(node):
            return f"{node} had done its part of this run before, and finds no server: it ends"
        case events.WorkerProgress(node, step, steps, loss, speed):
            told = [f"{node}: step {step}/{steps}"]
            if loss is not None:
                told.append(f"loss {loss:.4f} on its own examples")
            if speed is not None:
                told.append(
                    f"{speed:,.0f} of them a second"
                    if loss is not None
                    else f"{speed:,.0f} examples/s"
                )
            return ", ".join(told)
        case events.ServerLost(node, reason, left):
            return (
                f"{node} has lost the server, and goes on trying ({left:.0f} s at most): {reason}"
            )
        case events.ServerBack(node, step):
            return f"{node} has found the server again, and goes on after step {step}"
        case events.StoodStill(node, seconds):
            return f"{node} stood still for {seconds:.0f} s: its deadlines are as much later"
        case events.Waiting(node, names, seconds, left, reason):
            why = f": {reason}" if reason else ""
            return (
                f"{node} has waited {seconds:.0f} s for {', '.join(names)}{why} "
                f"(at most {left:.0f} s more)"
            )
        case events.Ended(node, error, reason, goes_on):
            does = "pauses" if goes_on else "ends"
            return f"{node} says that it {does}: {error}{f': {reason}' if reason else ''}"
        case events.Stopped(node):
            return f"{node} was told to end (SIGTERM); the same command goes on"
        case events.Failed(node, exit_code, error):
            return f"{node} failed ({exit_code}): {error.get('what', '')}"
        case _:
            return type(event).__name__


def _quality(own: events.OwnQuality) -> str:
    if not own.examples:
        return "nothing to tell"
    if own.log_loss is None:
        return "withheld, because they are fewer than limits.evaluation_minimum"
    auc = f", AUC {own.auc:.4f}" if own.auc is not None else ""
    calibration = f", calibration {own.calibration:.3f}" if own.calibration is not None else ""
    return f"log loss {own.log_loss:.4f}{auc}{calibration}"


def _validation(done: events.ValidationDone) -> str:
    if done.log_loss is None:
        return "too few rows to tell"
    auc = f", AUC {done.auc:.4f}" if done.auc is not None else ""
    return f"log loss {done.log_loss:.4f}{auc}{' (best so far)' if done.best else ''}"


def _loss(done: events.StepDone) -> str:
    if done.loss is None:
        return ""
    steps = f" over {done.over_steps} steps" if done.over_steps > 1 else ""
    return f"loss {done.loss:.4f}{steps}, "
