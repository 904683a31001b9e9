"""The two verbs print a summary or one JSON object, and let errors of the tree through."""

import csv
import json
from pathlib import Path

import pytest
import typer
import zstandard
from typer.testing import CliRunner

from coterie.cli.prepare import prepare
from coterie.cli.synthesize import synthesize
from coterie.errors import OutputInUse, RawDataInvalid
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.long


CONTRACT = str(REPOSITORY / "examples" / "hfl.toml")
PARTIES = ["acme", "bolt", "corn", "dune"]

app = typer.Typer()
app.command()(prepare)
app.command()(synthesize)


def run(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    path = tmp_path / "raw.tsv.zst"
    value = json.loads(run("synthesize", path, "--rows", "700", "--seed", "3", "--json"))
    assert (value["rows"], value["file"], value["seed"]) == (700, str(path), 3)
    assert {"positives", "bayes_auc"} < value.keys()
    return path


def test_json(raw: Path, tmp_path: Path) -> None:
    value = json.loads(
        run(
            "prepare",
            raw,
            tmp_path / "out",
            "--contract",
            CONTRACT,
            "--deal",
            "round-robin",
            "--json",
        )
    )
    assert value["source"]["rows"] == 700
    assert [party["party"] for party in value["parties"]] == PARTIES
    assert [party["train"]["rows"] for party in value["parties"]] == [150] * 4
    assert {party["deal"] for party in value["parties"]} == {"round-robin"}


def test_summaries(raw: Path, tmp_path: Path) -> None:
    text = run("prepare", raw, tmp_path / "out", "--contract", CONTRACT, "--party", "bolt")
    assert "700 rows" in text
    assert "bolt" in text
    assert "acme" not in text
    assert "20 rows" in run("synthesize", tmp_path / "more.tsv", "--rows", "20")


def test_errors_pass_through(raw: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputInUse):
        run("synthesize", raw)
    with pytest.raises(RawDataInvalid):
        run("prepare", tmp_path / "absent", tmp_path / "out", "--contract", CONTRACT)


def test_deal_and_party_exclude_each_other(raw: Path, tmp_path: Path) -> None:
    arguments = ["prepare", str(raw), str(tmp_path / "out"), "--contract", CONTRACT]
    result = CliRunner().invoke(app, [*arguments, "--party", "acme", "--deal", "contiguous"])
    assert result.exit_code == 2
    assert not (tmp_path / "out").exists()


def test_help_has_an_example() -> None:
    for verb in ("prepare", "synthesize"):
        assert f"Example: coterie {verb} " in run(verb, "--help")


def test_a_file_with_a_header_and_a_label_of_its_own(raw: Path, tmp_path: Path) -> None:
    plain, named = tmp_path / "plain.tsv", tmp_path / "named.csv"
    plain.write_bytes(zstandard.ZstdDecompressor().stream_reader(raw.read_bytes()).read())
    columns = [f"I{i}" for i in range(1, 14)] + [f"C{i}" for i in range(1, 27)]
    with named.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["clicked", *columns])
        writer.writerows(line.split("\t") for line in plain.read_text().splitlines())
    digests = []
    for name, source, label in (("a", plain, "label"), ("b", named, "clicked")):
        arguments = ("prepare", source, tmp_path / name, "--contract", CONTRACT, "--label", label)
        value = json.loads(run(*arguments, "--json"))
        digests.append([party["train"]["sha256"] for party in value["parties"]])
    assert digests[0] == digests[1]
    with pytest.raises(RawDataInvalid, match="does not name every column"):
        run("prepare", named, tmp_path / "c", "--contract", CONTRACT)
