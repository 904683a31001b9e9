"""What one node did in a run, read back from its own folder: its party's report is made of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from coterie.contract import Contract, contract_digest, load_contract
from coterie.errors import DataError
from coterie.report.record import Incident, Incidents
from coterie.runs import events
from coterie.runs.curve import Point
from coterie.runs.event_log import read_events


@dataclass(frozen=True)
class OwnRecord:
    """A worker's or chief's part in a run.

    Attributes:
        node: Its name.
        party: Whose it is.
        contract: What it ran under.
        progress: Mean losses of its own examples by step; empty where its host is told none.
        steps: Steps of the run that were done when it told last; and of how many.
        quality: Of the trained model on its party's own test rows, where it has some.
        times: Where its time went, once it is done.
        model: Digest of the model that it keeps; empty where it gets none.
        attested: The peers that it judged, as it saw them last.
        incidents: Refusals and faults that it told.
    """

    node: str
    party: str
    contract: Contract
    progress: tuple[Point, ...]
    steps: tuple[int, int]
    quality: events.OwnQuality | None
    times: events.WorkerTimes | None
    model: str
    attested: tuple[events.Attested, ...]
    incidents: tuple[Incident, ...]

    @property
    def contract_digest(self) -> str:
        """Of the contract, hex."""
        return contract_digest(self.contract).hex()


def read_own(folder: Path) -> OwnRecord:
    """Reads the folder that a worker or chief was given with ``--out``.

    Raises:
        DataError: No node of a contract has done its part there.
        ContractInvalid: The contract there is not readable.
    """
    contract = load_contract(folder / "contract.json")
    started: events.Started | None = None
    quality: events.OwnQuality | None = None
    times: events.WorkerTimes | None = None
    steps, model = (0, 0), ""
    points: list[Point] = []
    attested: dict[str, events.Attested] = {}
    incidents = Incidents()
    for event in read_events(folder):
        incidents.hear(event)
        match event:
            case events.Started():
                started = event
            case events.WorkerProgress(step=step, steps=of, loss=loss):
                steps = (step, of)
                points = [
                    point for point in points if point.step < step
                ]  # it may train steps again
                if loss is not None:
                    points.append(Point(step, 1, loss, None))
            case events.OwnQuality():
                quality = event
            case events.WorkerTimes():
                times = event
            case events.ModelKept(digest=digest):
                model = digest
            case events.Attested():
                attested[event.peer] = event
            case _:
                pass
    if started is None or (times is None and not model):
        raise DataError(
            f"{folder} holds no node's part in a run",
            expected="events.jsonl of a worker or chief that has done its part",
            seen="none" if started is None else f"{started.node} had not ended yet",
            remedy="name the folder that was given with --out; a node that was interrupted goes on by "
            "its command",
        )
    return OwnRecord(
        started.node,
        started.party,
        contract,
        tuple(points),
        steps,
        quality,
        times,
        model,
        tuple(attested.values()),
        incidents.found,
    )
