"""Reads the files of a finished run as the values that a report shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from coterie.contract import Contract, load_contract
from coterie.errors import CoterieError, DataError
from coterie.receipts import entry_types
from coterie.receipts.reading import read_entries
from coterie.runs import events
from coterie.runs.comparison_file import Comparison
from coterie.runs.curve import Curve, Point
from coterie.runs.evaluation_file import Evaluation
from coterie.runs.event_format import describe_event
from coterie.runs.event_log import read_events
from coterie.runs.result import RunResult
from coterie.runs.result_file import RESULT, parse_result
from coterie.runs.run_files import RECEIPT

MAX_INCIDENTS = 100


@dataclass(frozen=True)
class Participant:
    """A node, and how it was attested.

    Attributes:
        name: Its name.
        role: Its role.
        party: The party that it belongs to.
        measurement: The measurement that its peers verified; empty if no node attested it.
        tee: The kind of TEE that its peers verified; empty likewise.
        tcb_status: The TCB status that its peers verified; empty likewise.
        judges: The nodes that attested it.
    """

    name: str
    role: str
    party: str
    measurement: str
    tee: str
    tcb_status: str
    judges: tuple[str, ...]


@dataclass(frozen=True)
class Incident:
    """Something that did not go as planned.

    Attributes:
        kind: A word or two.
        text: What happened.
        times: How often it was reported with the same text.
    """

    kind: str
    text: str
    times: int


@dataclass(frozen=True)
class RunRecord:
    """A finished run.

    Attributes:
        title: For people.
        contract: The contract that its nodes ran under.
        result: Its result.
        evaluation: The counted scores, if they were kept.
        curve: Loss and accuracy by step; empty if no log was kept.
        participants: Every node of the contract.
        incidents: Refusals and faults, in the order of their first occurrence.
        comparison: What the parties gained by training together, if it was measured.
        epochs: The last step of every epoch but the last, as planned.
        rows: Training rows by party; also validation and test rows, if they are known.
        receipt: The run's signed receipt, if it was kept.
    """

    title: str
    contract: Contract
    result: RunResult
    evaluation: Evaluation
    curve: tuple[Point, ...]
    participants: tuple[Participant, ...]
    incidents: tuple[Incident, ...]
    comparison: Comparison | None
    epochs: tuple[int, ...] = ()
    rows: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    receipt: Path | None = None

    @property
    def stamp(self) -> str:
        """The word that marks what the run proves, such as ``SIMULATED``."""
        if self.result.transport == "ra-tls":
            return self.result.tee.upper()
        return "PLAINTEXT" if self.result.transport == "PLAINTEXT" else "LOCAL"


def read_run(folder: Path, title: str | None = None) -> RunRecord:
    """Reads a run: the directory of ``coterie run`` or ``local``, or a parameter server's ``--out``.

    Args:
        folder: The directory.
        title: For people; the contract's name if absent.

    Raises:
        DataError: The directory holds no finished run, or a file of another version.
        ContractInvalid: Its contract is not readable.
    """
    result = _result(folder)
    contract = load_contract(folder / "contract.json")
    lead = folder / "nodes" / contract.by_role("ps")[0].name
    supervised = lead.is_dir() and result.transport != "memory"  # nodes in one process share a log
    proves = result.transport == "ra-tls" and not supervised
    attested = _Attestations(contract.by_role("ps")[0].name if proves else None)
    curve, incidents = Curve(), Incidents()
    receipt = folder / RECEIPT if (folder / RECEIPT).exists() else None
    for event in read_events(lead if supervised else folder):
        curve.on_event(event)
    for event in _all_events(folder, contract, supervised=supervised):
        attested.on_event(event)
        incidents.on_event(event)
    return RunRecord(
        title=title or contract.name,
        contract=contract,
        result=result,
        evaluation=Evaluation.read(lead if supervised else folder) or Evaluation(),
        curve=curve.points,
        participants=tuple(attested.participant(contract, node.name) for node in contract.nodes),
        incidents=incidents.found,
        comparison=Comparison.read(folder),
        epochs=_epochs(curve.steps, contract),
        rows=_rows(result, contract, receipt),
        receipt=receipt,
    )


def _epochs(steps: int, contract: Contract) -> tuple[int, ...]:
    """The last steps of all epochs but the last; all epochs have the same length."""
    length = steps // contract.training.epochs
    return tuple(range(length, steps, length)) if length else ()


def _rows(
    result: RunResult, contract: Contract, receipt: Path | None
) -> dict[str, tuple[int, ...]]:
    """Rows of every party, from its owner's machine or from its nodes' reports to the server."""
    if result.rows or receipt is None:
        return {name: (one.train, one.validation, one.test) for name, one in result.rows.items()}
    party_of = {node.name: node.party for node in contract.nodes}
    joined: dict[str, int] = {}
    try:
        for entry in read_entries(receipt):
            if isinstance(entry.body, entry_types.NodeJoined):
                joined[entry.body.node] = entry.body.examples
    except CoterieError:  # `receipt verify` says why; the report is made without it
        return {}
    found = {
        party.name: sum(rows for node, rows in joined.items() if party_of.get(node) == party.name)
        for party in contract.parties
    }
    return {party: (rows,) for party, rows in found.items() if rows}


def _result(folder: Path) -> RunResult:
    path = folder / RESULT
    try:
        return parse_result(path)
    except OSError as error:
        raise DataError(
            f"{folder} holds no finished run",
            expected="result.json, as `coterie run`, `local` or a parameter server writes it",
            seen=error.strerror or "none",
            remedy="name the run's directory; a run that was interrupted goes on by its command",
        ) from error
    except ValidationError as error:
        raise DataError(
            f"{path} is no result of this version",
            expected="what a run writes",
            seen=str(error.errors()[0])[:300],
            remedy="make the report with the version that trained",
        ) from error


def _all_events(folder: Path, contract: Contract, *, supervised: bool) -> Iterator[events.Event]:
    if not supervised:
        yield from read_events(folder)
        return
    for node in contract.nodes:
        yield from read_events(folder / "nodes" / node.name)


class _Attestations:
    """Collects which nodes attested which.

    Args:
        server: The server, if only its log exists. That log does not say which nodes attested the
            server itself; every node that joined did, since a node does not join before.
    """

    def __init__(self, server: str | None) -> None:
        self._server = server
        self._last: dict[str, events.Attested] = {}
        self._judges: dict[str, dict[str, None]] = {}

    def on_event(self, event: events.Event) -> None:
        if isinstance(event, events.Attested):
            self._last[event.peer] = event
            self._judges.setdefault(event.peer, {})[event.node] = None
        elif isinstance(event, events.Joined) and self._server is not None:
            self._judges.setdefault(self._server, {})[event.node] = None

    def participant(self, contract: Contract, name: str) -> Participant:
        node = contract.node(name)
        seen = self._last.get(name)
        return Participant(
            name=name,
            role=node.role,
            party=node.party,
            measurement=seen.measurement if seen else "",
            tee=contract.kind_of(node) if seen else "",  # no other is accepted
            tcb_status=seen.tcb_status if seen else "",
            judges=tuple(self._judges.get(name, ())),
        )


class Incidents:
    """Collects what went wrong. Different texts are kept up to a bound; the rest is counted."""

    def __init__(self) -> None:
        self._found: Counter[tuple[str, str]] = Counter()
        self._more = 0
        self._joined: dict[str, int] = {}

    def on_event(self, event: events.Event) -> None:
        """Takes note of an event, if it is of that kind."""
        said = _incident(event)
        if isinstance(event, events.Joined):
            before = self._joined.get(event.node, event.incarnation)
            self._joined[event.node] = event.incarnation
            if event.incarnation > before:
                said = ("return", f"the process of {event.node} had ended; another one joined")
        if said is None:
            return
        if said in self._found or len(self._found) < MAX_INCIDENTS:
            self._found[said] += 1
        else:
            self._more += 1

    @property
    def found(self) -> tuple[Incident, ...]:
        """All incidents, in the order of their first occurrence."""
        listed = [Incident(kind, text, times) for (kind, text), times in self._found.items()]
        if self._more:
            listed.append(Incident("more", "others, see the nodes' logs", self._more))
        return tuple(listed)


def _incident(event: events.Event) -> tuple[str, str] | None:  # noqa: PLR0911 (one line per kind)
    match event:
        case events.Refused(node, error, reason, count):
            times = f" {count} times" if count > 1 else ""
            return "refusal", f"{node} refused a peer or call{times}: {error}: {reason}"
        case events.LeftOut(node, step):
            return "absence", f"{node} was left out from step {step} on"
        case events.Returned(node, step):
            return "return", f"{node} took part again from step {step} on"
        case events.Resumed(step=step):
            return "restart", f"the server went on from its checkpoint of step {step}"
        case events.Restarted(_, step):
            return "restart", f"all shards went back to step {step}: one had lost its state"
        case events.ServerLost(node, reason, _):
            return "loss", f"{node} lost the server: {reason}"
        case events.ServerBack(node, step):
            return "return", f"{node} found the server again, and went on after step {step}"
        case events.Overfitting():
            return "warning", describe_event(event)
        case events.StoodStill(node, seconds):
            return "pause", f"{node} stood still for {seconds:.0f} s"
        case events.Failed(node, exit_code, error):
            return "failure", f"{node} ended with exit code {exit_code}: {error.get('what', '')}"
        case _:
            return None
