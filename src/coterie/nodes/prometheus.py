"""A node's metrics, fed by its events and its calls; ``docs/operations.md`` describes each."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from coterie.contract import Node
from coterie.ps.call_metrics import CallRecord
from coterie.runs import events

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)


class NodeMetrics:
    """Metrics of one node's process. None of them is about single rows or users.

    Args:
        node: The node; its name and role are in ``coterie_node_info``.

    Attributes:
        registry: Holds the metrics of this process, and no others.
    """

    def __init__(self, node: Node) -> None:
        self.registry = registry = CollectorRegistry()
        info = Gauge("coterie_node_info", "Which node this is", ["node", "role"], registry=registry)
        info.labels(node.name, node.role).set(1)

        def gauge(name: str, help_: str) -> Gauge:
            return Gauge(f"coterie_{name}", help_, registry=registry)

        def counter(name: str, help_: str, *labels: str) -> Counter:
            return Counter(f"coterie_{name}", help_, labels, registry=registry)

        self._step = gauge("step", "Updates applied so far")
        self._steps = gauge("steps_planned", "Updates in the whole run")
        self._loss = gauge("train_loss", "Mean loss of the last steps that may be told")
        self._held = gauge("validation_log_loss", "Log loss of the newest validation, if told")
        self._held_auc = gauge("validation_auc", "AUC of the newest validation, if told")
        self._examples = counter("examples", "Examples trained by this process's steps")
        self._checkpoint = gauge("checkpoint_step", "Step of the newest durable checkpoint")
        self._restarts = counter("restarts", "Times the server went back to a checkpoint")
        self._joined = counter("joined", "Nodes that joined", "peer")
        self._left_out = counter("left_out", "Times a worker was left out", "peer")
        self._returned = counter("returned", "Times a worker came back", "peer")
        self._attested = counter("handshakes", "Peers that proved themselves", "peer")
        self._refused = counter("refusals", "Peers or calls that were refused", "error")
        call = ("side", "method", "peer")
        self._calls = counter("calls", "Calls that are over", *call, "error")
        self._received = counter("received_bytes", "Bytes of messages that came", *call)
        self._sent = counter("sent_bytes", "Bytes of messages that went", *call)
        self._seconds = Histogram(
            "coterie_call_seconds",
            "Time of calls in this process",
            call,
            buckets=_SECONDS,
            registry=registry,
        )
        self._pushed = counter("pushed_rows", "Rows whose gradients were pushed", "side")
        self._pulled = counter("pulled_rows", "Rows that were read", "side")
        self._waited = Histogram(
            "coterie_barrier_wait_seconds",
            "Time that an exchange waited for other workers",
            ["side", "peer"],
            buckets=_SECONDS,
            registry=registry,
        )

    def on_event(self, event: events.Event) -> None:  # noqa: PLR0912 (one line per kind)
        """Counts an event."""
        match event:
            case events.StepDone(step, steps, examples, loss):
                self._step.set(step)
                self._steps.set(steps)
                if loss is not None:
                    self._loss.set(loss)
                self._examples.inc(examples)
            case events.ValidationDone() as done:
                if done.log_loss is not None:
                    self._held.set(done.log_loss)
                if done.auc is not None:
                    self._held_auc.set(done.auc)
            case events.CheckpointWritten(step, _):
                self._checkpoint.set(step)
            case events.Resumed(step=step):
                self._step.set(step)
                self._checkpoint.set(step)
            case events.Restarted(_, step):
                self._step.set(step)
                self._restarts.inc()
            case events.Joined(node=peer):
                self._joined.labels(peer).inc()
            case events.LeftOut(peer, _):
                self._left_out.labels(peer).inc()
            case events.Returned(peer, _):
                self._returned.labels(peer).inc()
            case events.Attested() as attested:
                self._attested.labels(attested.peer).inc()
            case events.Refused() as refused:
                self._refused.labels(refused.error).inc(refused.count)
            case _:
                pass

    def observe(self, call: CallRecord) -> None:
        """Counts a finished call."""
        labels = (call.side, call.method, call.peer)
        self._calls.labels(*labels, call.error).inc()
        self._received.labels(*labels).inc(call.received)
        self._sent.labels(*labels).inc(call.sent)
        self._seconds.labels(*labels).observe(call.seconds)
        if call.work is not None:
            self._pushed.labels(call.side).inc(call.work.pushed_rows)
            self._pulled.labels(call.side).inc(call.work.pulled_rows)
            self._waited.labels(call.side, call.peer).observe(call.work.waited_seconds)
