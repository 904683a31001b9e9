"""The page says what the files say, to the last digit, and nothing that it was told becomes markup."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest

from coterie.contract import StartSection, canonical_json
from coterie.errors import DataError, OutputInUse
from coterie.files import only_writer
from coterie.metrics.histogram import ScoreHistogram
from coterie.report.figures import WORK
from coterie.report.record import read_run
from coterie.report.writing import report_demo, report_folder, report_parties
from coterie.runs import events
from coterie.runs.comparison_file import Comparison, Scored
from coterie.runs.result import PartyRows, result_of
from coterie.runs.result_file import write_result
from tests.ratls.conftest import World
from tests.receipts.conftest import EXAMPLES, Scene
from tests.report.runs import HFL, MEASUREMENT, SDT, comparison, outcome, scores, write_run

pytestmark = pytest.mark.long


VOID = {"meta", "link", "br"}


class Page(HTMLParser):
    """A page's elements, its text, and the numbers that it carries."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.numbers: dict[tuple[str | None, str], list[tuple[str, str]]] = {}
        self.feed(text)
        self.close()
        assert self.open == [], "every element is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {key: value or "" for key, value in attrs}
        self.tags.append((tag, attributes))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("data", "code"):
            _, attributes = next(
                found for found in reversed(self.tags) if found[0] == self.open[-1]
            )
            if "data-key" in attributes:
                where = attributes.get("data-run") or attributes.get("data-model")
                shown = (attributes.get("value", data), data)
                self.numbers.setdefault((where, attributes["data-key"]), []).append(shown)
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def page_of(path: Path) -> Page:
    return Page(path.read_text())


COMPARED = (
    "steps", "examples", "seconds", "samples_per_second", "train_loss", "validation_auc",
    "test_auc", "test_logloss", "test_accuracy", "test_calibration",
)  # fmt: skip


def check_numbers(page: Page, run: str, result: dict[str, object]) -> None:
    """Every number of the result is on the page: all its digits, and rounded as shown."""
    for key in COMPARED:
        value = result[key]
        assert isinstance(value, int | float)
        found = page.numbers[run, key]
        assert {float(exact) for exact, _ in found} == {value}
        for _, text in found:
            percent = text.endswith("%")
            shown = float(text.replace(",", "").rstrip("%")) / (100 if percent else 1)
            digits = len(text.rstrip("%").partition(".")[2]) + 2 * percent
            assert shown == pytest.approx(value, abs=0.5001 * 10**-digits)
    for key in ("model_digest", "contract_digest"):
        assert page.numbers[run, key] == [(result[key], result[key])]


def test_a_run_that_went_on_says_from_what(tmp_path: Path) -> None:
    start = StartSection(
        model="ab" * 32, contract="cd" * 32, step=1234, optimizer_state="new", grown={"C3": 2}
    )
    write_run(tmp_path, HFL.model_copy(update={"start": start}))
    words = Page(report_folder(tmp_path).read_text()).words
    assert f"step 1,234 of model {'ab' * 32}" in words
    assert "larger tables: C3" in words


def test_a_run_whose_gradients_had_fewer_bits_says_so(tmp_path: Path) -> None:
    training = {"exchange": "top-k", "exchange_share": 0.05}
    write_run(tmp_path, HFL.model_copy(update={"training": training}))
    words = Page(report_folder(tmp_path).read_text()).words
    assert "top-k, 5 % of dense values" in words


def test_the_reports_numbers_are_those_of_the_result(tmp_path: Path) -> None:
    write_run(tmp_path)
    path = report_folder(tmp_path)
    assert path == tmp_path / "report.html"
    page = page_of(path)
    check_numbers(page, "0", json.loads((tmp_path / "result.json").read_text()))
    interval = ScoreHistogram.count(*scores()).interval()
    assert interval is not None
    assert f"{interval.low:.4f} to {interval.high:.4f}" in page.text
    assert "says little" not in page.text
    assert "is known to within" not in page.text
    figures = {file.name for file in (tmp_path / "figures").iterdir()}
    names = ("loss", "accuracy", "roc", "calibration", "breakdown-0")
    assert figures == {f"{name}.{form}" for name in names for form in ("png", "svg")}
    assert not list(tmp_path.glob("*.partial"))


def test_a_report_says_how_far_an_auc_can_be_off_and_that_it_says_little(tmp_path: Path) -> None:
    write_run(tmp_path)
    result = json.loads((tmp_path / "result.json").read_text())
    note = "only 7 positive examples: the AUC says little"
    result |= {"test_auc_error": 2.14e-05, "test_auc_note": note}
    (tmp_path / "result.json").write_text(json.dumps(result))
    page = page_of(report_folder(tmp_path))
    assert page.text.count(note) == 2
    assert "the test AUC is known to within 2e-05" in page.text


def test_who_took_part_is_named_with_measurement_and_contract(tmp_path: Path) -> None:
    write_run(tmp_path)
    page = page_of(report_folder(tmp_path))
    for node in HFL.nodes:
        assert node.name in page.text
        assert node.party in page.text
    assert MEASUREMENT in page.text
    assert "hfl-example" in page.text
    assert "None: nobody was refused, left out or restarted." in page.text


def test_the_page_says_when_on_which_rows_and_where_the_receipt_is(tmp_path: Path) -> None:
    result = write_run(tmp_path)
    rows = {"acme": PartyRows(train=12_858, validation=1_071, test=1_072)}
    at = datetime(2026, 3, 1, 12, 34, tzinfo=UTC)
    write_result(tmp_path, result.model_copy(update={"rows": rows, "finished": at}))
    page = page_of(report_folder(tmp_path))
    assert "finished 2026-03-01 12:34 UTC" in page.text
    assert ("time", {"class": "unit", "datetime": at.isoformat()}) in page.tags
    assert "rows of training validation test acme 12,858 1,071 1,072" in page.text
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert links == []
    (tmp_path / "receipt.jsonl").touch()
    runs = (read_run(tmp_path, "HFL"), read_run(tmp_path, "again"))
    (tmp_path / "above").mkdir()
    page = page_of(report_demo(tmp_path / "above", runs, None))
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert links == ["../receipt.jsonl"] * 4


def test_a_server_s_page_has_the_rows_that_its_receipt_tells(tmp_path: Path) -> None:
    scene = Scene(World(), tmp_path)
    receipt = scene.whole()
    write_run(receipt.parent, scene.world.contract)
    run = read_run(receipt.parent)
    parties = [node.party for node in scene.world.contract.data_owners()]
    assert run.rows == dict.fromkeys(parties, (EXAMPLES,))
    receipt.write_bytes(b"no receipt\n")
    assert read_run(receipt.parent).rows == {}


def test_cards_of_several_runs_say_whose_they_are(tmp_path: Path) -> None:
    write_run(tmp_path / "hfl")
    write_run(tmp_path / "sdt", SDT)
    runs = (read_run(tmp_path / "hfl", "HFL"), read_run(tmp_path / "sdt", "SDT"))
    page = page_of(report_demo(tmp_path, runs, comparison()))
    for label in ("HFL test AUC", "SDT test AUC", "HFL test accuracy", "HFL training time, s"):
        assert label in page.text.replace("\u00a0", " ")
    alone = page_of(report_folder(tmp_path / "hfl"))
    assert "HFL test AUC" not in alone.text


def test_the_table_of_times_has_the_legend_s_names_in_its_order(tmp_path: Path) -> None:
    write_run(tmp_path)
    text = page_of(report_folder(tmp_path)).text
    assert "compute 23.33 · transport 31.67 · server works" in text
    told = text[text.index("compute 23.33") :]
    places = [told.index(label) for _, label, _ in WORK]
    assert places == sorted(places)


def test_a_benchmark_shows_pairs(tmp_path: Path) -> None:
    for i, (slow, fast) in enumerate([(4.0, 2.0), (5.0, 2.0), (3.3, 3.0)]):
        write_run(tmp_path / f"attested-{i}", seconds=slow)
        write_run(tmp_path / f"plaintext-{i}", transport="PLAINTEXT", seconds=fast)
    page = page_of(report_folder(tmp_path))
    for run, name in (("0", "attested-2"), ("1", "plaintext-2")):
        check_numbers(page, run, json.loads((tmp_path / name / "result.json").read_text()))
    assert page.numbers["0", "overhead"] == [("2.0", "2.00")]
    assert "SIMULATED" in page.text
    assert "PLAINTEXT" in page.text
    assert "are equal, bit for bit" in page.text
    assert (tmp_path / "figures" / "time.svg").exists()


def test_a_benchmark_of_models_that_differ_says_so(tmp_path: Path) -> None:
    write_run(tmp_path / "attested-0")
    result = write_run(tmp_path / "plaintext-0", transport="PLAINTEXT")
    other = result.model_copy(update={"model_digest": "11" * 32})
    write_result(tmp_path / "plaintext-0", other)
    assert "The attested and the plaintext model differ." in page_of(report_folder(tmp_path)).text


def test_what_joining_is_worth_is_shown_model_by_model(tmp_path: Path) -> None:
    write_run(tmp_path, transport="memory")
    compared = comparison()
    compared.write(tmp_path)
    page = page_of(report_folder(tmp_path))
    for model in compared.models:
        assert [float(exact) for exact, _ in page.numbers[model.name, "auc"]] == [model.auc]
        if model.gain is not None:
            assert [float(exact) for exact, _ in page.numbers[model.name, "gain"]] == [model.gain]
    gains = [m.gain for m in compared.models if m.kind == "alone" and m.gain is not None]
    assert [float(e) for e, _ in page.numbers["0", "mean_gain"]] == [sum(gains) / 4]
    assert "LOCAL" in page.text


def test_the_demonstrations_page_holds_both_schemes(tmp_path: Path) -> None:
    write_run(tmp_path / "hfl")
    write_run(tmp_path / "sdt", SDT)
    runs = (read_run(tmp_path / "hfl", "HFL"), read_run(tmp_path / "sdt", "SDT"))
    page = page_of(report_demo(tmp_path, runs, comparison()))
    for run, name in (("0", "hfl"), ("1", "sdt")):
        check_numbers(page, run, json.loads((tmp_path / name / "result.json").read_text()))
    assert {name for tag, a in page.tags if tag == "section" for name in [a["id"]]} == {
        "worth", "training", "quality", "time", "numbers", "participants", "incidents",
    }  # fmt: skip


def test_a_partys_private_comparison_is_a_page_of_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "nodes" / "acme-worker"
    folder.mkdir(parents=True)
    logits, labels = scores()
    scored = [
        Scored("joint", "joint", None, logits),
        Scored("acme alone", "alone", 12_857, logits[::-1].copy()),
    ]
    private = Comparison.of(scored, labels, scope="own", party="acme")
    assert private is not None
    private.write(folder)
    report_parties(tmp_path)
    page = page_of(folder / "report.html")
    assert "PRIVATE" in page.text
    assert "On the test rows of acme alone" in page.text
    assert [float(exact) for exact, _ in page.numbers["joint", "auc"]] == [private.models[0].auc]


def test_a_folder_that_a_run_is_writing_gets_no_report_meanwhile(tmp_path: Path) -> None:
    write_run(tmp_path, HFL)
    with only_writer(tmp_path), pytest.raises(OutputInUse, match="in use by another process"):
        report_folder(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_a_folder_without_a_run_has_no_report(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no finished run"):
        report_folder(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_run_with_nothing_but_a_result_still_has_a_page(tmp_path: Path) -> None:
    bare = outcome(HFL)
    result = result_of(bare, HFL, "memory").model_copy(
        update={
            "times": {},
            "validation_auc": None,
            "test_auc": None,
            "test_logloss": None,
            "test_accuracy": None,
            "test_calibration": None,
        }
    )
    write_result(tmp_path, result)
    (tmp_path / "contract.json").write_bytes(canonical_json(HFL))
    page = page_of(report_folder(tmp_path))
    assert {text for _, text in page.numbers["0", "test_auc"]} == {"withheld"}
    assert not (tmp_path / "figures").exists()


HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7 * 7 }}\u202e</style>&amp;'


def test_what_peers_say_is_text(tmp_path: Path) -> None:
    write_run(
        tmp_path,
        more=(
            events.Refused("ps0", HOSTILE, HOSTILE),
            events.Failed("ps0", 7, {"what": HOSTILE}),
            events.Attested("ps0", "acme-worker", "worker", "acme", HOSTILE, HOSTILE),
        ),
    )
    path = report_folder(tmp_path)
    page = page_of(path)
    assert " ".join(HOSTILE.split()) in page.text
    for tag, attributes in page.tags:
        assert tag not in ("script", "img", "iframe", "object", "embed", "form", "base")
        assert not any(name.startswith("on") for name in attributes)


def test_the_page_loads_nothing(tmp_path: Path) -> None:
    write_run(tmp_path)
    comparison().write(tmp_path)
    path = report_folder(tmp_path)
    page, text = page_of(path), path.read_text()
    policy = next(
        a["content"] for _, a in page.tags if "Content-Security" in a.get("http-equiv", "")
    )
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:")
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            if name.startswith("xmlns"):
                continue
            assert "//" not in value, (tag, name, value)
            if name in ("href", "src", "xlink:href"):
                assert value.startswith(("#", "data:"))
    outside = set(re.findall(r"https?://[^\s\"'<)]+", text))
    assert outside <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}, (
        "names, not places"
    )
    assert "@import" not in text
    assert len(text) < 400_000
