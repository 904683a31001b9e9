"""A receipt tells what its run went on from, and is followed back to the receipts of the runs before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from coterie.contract import Contract, DenseOptimizer, ResultsSection, StartSection
from coterie.errors import ReceiptRefused
from coterie.receipts import entry_types
from coterie.receipts.entry_types import Body
from coterie.receipts.explain import does_not_prove, proves, walked
from coterie.receipts.findings import Findings
from coterie.receipts.parents import walk
from coterie.receipts.recorder import Recorder
from coterie.receipts.verification import verify_receipt
from coterie.runs import events
from coterie.runs.run_files import parent_receipts
from tests.ratls.conftest import World
from tests.receipts.conftest import END, MODEL, Scene, judge, resign

pytestmark = pytest.mark.long

STATE = "cd" * 32
CHILD = "ef" * 32


@dataclass
class GoingOn(World):
    """A world whose contract goes on from a model, which acme's worker gives."""

    start: StartSection | None = None

    @property
    def contract(self) -> Contract:
        plain = super().contract
        training = plain.training.model_copy(update={"dense": DenseOptimizer(kind="adagrad")})
        results = ResultsSection(optimizer_state=True)
        return plain.model_copy(
            update={"start": self.start, "results": results, "training": training}
        )


@dataclass
class Line(Scene):
    """A run that goes on; its server takes the start unless it is told not to."""

    model: str = MODEL
    state: str | None = STATE
    changes: dict[str, object] = field(default_factory=dict)

    def event(self) -> events.StartTaken:
        start = self.world.contract.start
        assert start is not None
        said = events.StartTaken(
            "acme-worker", start.model, start.step, start.optimizer_state or ""
        )
        return events.StartTaken(**{**vars(said), **self.changes})

    def recorder(self) -> Recorder:
        recorder = super().recorder()
        if self.world.contract.start is not None:
            self.attest(recorder, "acme-worker")
            recorder.on_event(self.event())
        return recorder

    def whole(self) -> Path:
        recorder = self.recorder()
        self.run(recorder)
        result = self.result(model_digest=self.model, optimizer_state=self.state)
        recorder.finish(result, END)
        recorder.close()
        return self.path


def start_of(parent: Findings, **changes: object) -> StartSection:
    return StartSection.model_validate(
        {
            "model": parent.outcome.model_digest,
            "contract": parent.contract_digest,
            "step": parent.updates,
            "optimizer_state": parent.outcome.optimizer_state,
            "receipt": parent.head,
            **changes,
        }
    )


def going_on(folder: Path, start: StartSection | None, **options: object) -> Line:
    folder.mkdir()
    line = Line(GoingOn(start=start), folder, **options)  # type: ignore[arg-type]
    line.whole()
    return line


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Line:
    return going_on(tmp_path_factory.mktemp("line") / "first", None)


@pytest.fixture(scope="module")
def second(first: Line) -> Line:
    start = start_of(first.verify())
    return going_on(first.folder.parent / "second", start, model=CHILD, state="12" * 32)


@pytest.fixture(scope="module")
def third(first: Line, second: Line) -> Line:
    start = start_of(second.verify())
    return going_on(first.folder.parent / "third", start, model="34" * 32, state="56" * 32)


def verify(path: Path) -> Findings:
    return verify_receipt(path, appraiser_of=judge)


def test_a_receipt_tells_what_its_run_went_on_from(first: Line, second: Line) -> None:
    parent, found = first.verify(), second.verify()
    taken = found.history.start
    assert taken is not None
    assert taken.model_dump() == {
        "node": "acme-worker",
        "model": MODEL,
        "contract": parent.contract_digest,
        "step": 2,
        "optimizer_state": STATE,
        "receipt": parent.head,
    }
    assert second.kinds()[2:5] == ["begun", "attested", "start"]
    assert (found.outcome.steps, found.updates) == (2, 4)
    assert parent.history.start is None
    said = "\n".join(proves(found))
    assert f"The run went on from model {MODEL} of 2 updates" in said
    assert f"which acme-worker gave; its optimizers' state: {STATE}." in said
    assert "and holds 4 updates in all" in said
    assert f"What its optimizers keep has digest {'12' * 32}." in said
    assert f"Where model {MODEL}, which it went on from, came from" in "\n".join(
        does_not_prove(found)
    )


def test_the_line_is_followed_to_its_beginning(first: Line, second: Line, third: Line) -> None:
    found = third.verify()
    parents = walk(found, [first.path, second.path], verify)
    assert [one.outcome.model_digest for one in parents] == [CHILD, MODEL]
    said = walked(found, parents)
    assert len(said) == 2
    assert f"Model {CHILD}, which it went on from, came out of the run of receipt" in said[0]
    assert f"Model {MODEL}, which it went on from" in said[1]
    assert "came from" not in "".join(does_not_prove(found, parents))
    reach = walk(found, [second.path], verify)
    assert f"Where model {MODEL}, which that run went on from, came from" in "\n".join(
        does_not_prove(found, reach)
    )


def test_receipts_beside_are_found(third: Line, second: Line, tmp_path: Path) -> None:
    assert parent_receipts(third.path) == ()
    (tmp_path / "parents").mkdir()
    kept = tmp_path / "parents" / "a.jsonl"
    kept.write_bytes(second.path.read_bytes())
    assert parent_receipts(tmp_path / "receipt.jsonl") == (kept,)


# What the contract of the run names instead, and what the error says.
BROKEN: list[tuple[dict[str, object], str, Callable[[Findings], str]]] = [
    ({"receipt": "99" * 32}, "it is of no run in the line", lambda _: f"receipt {'99' * 32}"),
    (
        {"receipt": None, "model": "99" * 32},
        "it is of no run in the line",
        lambda _: f"model {'99' * 32}",
    ),
    ({"model": "99" * 32}, "its model is not what the next run went on from", lambda _: "99" * 32),
    ({"contract": "99" * 32}, "its contract is not what", lambda _: "99" * 32),
    ({"step": 3}, "its number of updates is not what", lambda _: "3"),
    ({"optimizer_state": "99" * 32}, "its optimizer state is not what", lambda _: "99" * 32),
    ({"optimizer_updates": 1}, "its update of the optimizers' beginning is not", lambda _: "1"),
]


@pytest.mark.parametrize(("changes", "what", "expected"), BROKEN, ids=[str(b[0]) for b in BROKEN])
def test_a_line_that_is_broken_is_refused(
    first: Line,
    tmp_path: Path,
    changes: dict[str, object],
    what: str,
    expected: Callable[[Findings], str],
) -> None:
    parent = first.verify()
    child = going_on(tmp_path / "child", start_of(parent, **changes))
    with pytest.raises(ReceiptRefused) as refused:
        walk(child.verify(), [first.path], verify)
    assert what in refused.value.what
    assert str(first.path) in refused.value.what
    assert refused.value.place == "the line of runs"
    assert refused.value.expected == expected(parent)


def test_a_receipt_is_found_by_its_model_where_the_contract_does_not_name_it(
    first: Line, tmp_path: Path
) -> None:
    child = going_on(tmp_path / "child", start_of(first.verify(), receipt=None))
    (parent,) = walk(child.verify(), [first.path], verify)
    assert parent.outcome.model_digest == MODEL


def test_a_parent_that_was_touched_is_refused_with_its_place(
    first: Line, second: Line, tmp_path: Path
) -> None:
    touched = bytearray(first.path.read_bytes())
    touched[-200] ^= 1
    (tmp_path / "touched.jsonl").write_bytes(touched)
    with pytest.raises(ReceiptRefused, match="of a run before is refused") as refused:
        walk(second.verify(), [tmp_path / "touched.jsonl"], verify)
    assert refused.value.place.startswith("line ")


def test_a_receipt_that_has_no_start_has_no_parent(first: Line, second: Line) -> None:
    with pytest.raises(ReceiptRefused, match="it is of no run in the line") as refused:
        walk(first.verify(), [second.path], verify)
    assert refused.value.expected == "none: the first run of the line began anew"


Lie = Callable[[list[Body]], list[Body]]


def changed(**values: object) -> Lie:
    return lambda told: [
        body.model_copy(update=values) if isinstance(body, entry_types.StartTaken) else body
        for body in told
    ]


def moved(told: list[Body]) -> list[Body]:
    """The start is taken before its giver has proved itself."""
    index = next(i for i, body in enumerate(told) if isinstance(body, entry_types.StartTaken))
    return [*told[: index - 1], told[index], told[index - 1], *told[index + 1 :]]


def before_begun(told: list[Body]) -> list[Body]:
    index = next(i for i, body in enumerate(told) if isinstance(body, entry_types.StartTaken))
    return [*told[:2], told[index], *told[2:index], *told[index + 1 :]]


def missing(told: list[Body]) -> list[Body]:
    return [body for body in told if not isinstance(body, entry_types.StartTaken)]


LIES: list[tuple[str, Lie, str]] = [
    ("another model", changed(model="99" * 32), "the start is another one than the contract names"),
    ("another step", changed(step=7), "the start is another one than the contract names"),
    ("another giver", changed(node="bolt-worker"), "the start is another one"),
    ("another state", changed(optimizer_state="new"), "the start is another one"),
    ("another receipt", changed(receipt=None), "the start is another one"),
    (
        "a giver that proved nothing",
        moved,
        "acme-worker gave the start without having proved itself",
    ),
    ("before the run", before_begun, "a start is taken, but no run was begun"),
    ("no start", missing, "the run did not go on from what the contract names"),
]


@pytest.mark.parametrize(("lie", "what"), [row[1:] for row in LIES], ids=[row[0] for row in LIES])
def test_a_start_that_does_not_add_up_is_refused(
    second: Line, tmp_path: Path, lie: Lie, what: str
) -> None:
    path = tmp_path / "lie.jsonl"
    now = second.world.clock()
    identity = second.server.credentials.current().identity
    resign(lie(second.bodies()), identity, path, lambda _: now)
    with pytest.raises(ReceiptRefused, match=what):
        verify(path)


def test_a_start_under_a_contract_without_one_is_refused(first: Line, tmp_path: Path) -> None:
    told = first.bodies()
    start = entry_types.StartTaken(
        node="acme-worker", model=MODEL, contract=MODEL, step=1, optimizer_state=None, receipt=None
    )
    joined = next(i for i, body in enumerate(told) if isinstance(body, entry_types.NodeJoined))
    now, identity = first.world.clock(), first.server.credentials.current().identity
    path = tmp_path / "lie.jsonl"
    resign([*told[:joined], start, *told[joined:]], identity, path, lambda _: now)
    with pytest.raises(ReceiptRefused, match="a start is taken, but the contract has none"):
        verify(path)


def test_tables_and_columns_that_are_new_are_said(first: Line, tmp_path: Path) -> None:
    parent = first.verify()
    rows = parent.contract.data.table_rows[0]
    column, other = parent.contract.data.categorical[:2]
    world = GoingOn(start=start_of(parent, grown={column: 2}, new_columns=[other]))
    scene = Line(world, tmp_path)
    scene.whole()
    said = "\n".join(proves(scene.verify()))
    assert f"Tables grew: {column} from 2 to {rows:,} rows; new rows began as copies." in said
    assert f"Columns that the start did not have began from the seed: {other}." in said
