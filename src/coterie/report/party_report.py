"""Reads what one node did in a run from the node's own folder, for its party's report."""

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
        party: The party that it belongs to.
        contract: The contract that it ran under.
        progress: Mean losses of its own examples by step; empty where they are withheld from its
            host.
        steps: Steps of the run that were done at its last report, and steps in all.
        quality: Quality of the trained model on its party's own test rows, if there are any.
        times: How it spent its time; present once it is done.
        model: Digest of the model that it keeps; empty if it gets none.
        attested: The peers that it verified, each as last seen.
        incidents: Refusals and faults that it reported.
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
        """The contract's digest, hex."""
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
        incidents.on_event(event)
        match event:
            case events.Started():
                started = event
            case events.WorkerProgress(step=step, steps=of, loss=loss):
                steps = (step, of)
                points = [
                    point for point in points if point.step < step
                ]  # a resumed worker may report a step again; the newest report counts
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
