"""Pages of platforms: what they say of Coterie is what the code says, and each says what was not run."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import get_args

import pytest
import tomlkit
from pydantic.fields import FieldInfo

from coterie.attestation.tee.simulated.azure import SimulatedVm
from coterie.attestation.tee.survey import TeeSurvey, survey
from coterie.contract import parse_contract
from coterie.contract.section import Section
from coterie.contract.trust import RoleTrust
from coterie.enclave.inputs import read_inputs
from coterie.guest.network import read_network
from coterie.kinds import TeeKind
from handbook.contract_keys import constraints_of
from tests.attestation.vtpm.devices import Vtpm
from tests.conftest import REPOSITORY

FOLDER = REPOSITORY / "docs" / "platforms"
INDEX = FOLDER / "index.md"
PAGES = sorted(set(FOLDER.glob("*.md")) - {INDEX})
TEXTS = {page.stem: page.read_text(encoding="utf-8") for page in PAGES}
TOML = re.compile(r"^ *```toml\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
DOCTOR = re.compile(r"^<!-- doctor: ([^\n]+) -->\n```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)
REFUSALS = re.compile(r"^## Common refusals\n(.*?)(?=^## )", re.MULTILINE | re.DOTALL)
HEX = re.compile(r"^\^\[0-9a-f\]\{(\d+)\}\$$")
KEY = f"ed25519:{'0' * 64}"
NODES: tuple[dict[str, object], ...] = (
    {"name": "ps0", "role": "ps", "party": "acme"},
    {"name": "acme-worker", "role": "worker", "party": "acme"},
)
# The table of a role that a page does not describe.
OTHER: dict[str, object] = {
    "tee": "sgx",
    "mrenclave": ["0" * 64],
    "accepted_tcb_statuses": ["UpToDate"],
    "minimum_tcb_evaluation_number": 19,
}

every_page = pytest.mark.parametrize("name", sorted(TEXTS))


def blocks(pattern: re.Pattern[str]) -> list[tuple[str, re.Match[str]]]:
    """What a pattern finds, with the page's name."""
    return [
        (page.stem, found)
        for page in (*PAGES, INDEX)
        for found in pattern.finditer(page.read_text(encoding="utf-8"))
    ]


TOML_BLOCKS = [(page, found[1]) for page, found in blocks(TOML)]
DOCTOR_BLOCKS = [(page, found[1], found[2]) for page, found in blocks(DOCTOR)]


def test_every_page_is_named_where_people_look() -> None:
    menu = (REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8")
    overview = INDEX.read_text(encoding="utf-8")
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    start = (REPOSITORY / "docs" / "index.md").read_text(encoding="utf-8")
    for page in PAGES:
        assert f"]({page.name}" in overview
        assert f"- platforms/{page.name}\n" in menu
        assert f"](docs/platforms/{page.name})" in readme
        assert f"](platforms/{page.name})" in start


@every_page
def test_a_page_says_what_was_run_and_what_was_not(name: str) -> None:
    _, heading, last = TEXTS[name].partition("\n## What was run and what was not\n")
    assert heading
    assert "\n## " not in last
    head, _, *rows = re.findall(r"^\|(.*)\|$", last, re.MULTILINE)
    assert [cell.strip() for cell in head.split("|")] == ["Step", "Run", "Not run"]
    assert len(rows) >= 4
    for row in rows:
        assert all(cell.strip() for cell in row.split("|")), row
    assert re.search(r"^Sources, read on \d+ \w+ 20\d\d: ", last, re.MULTILINE)


@every_page
def test_a_page_leads_to_a_joined_worker(name: str) -> None:
    text = TEXTS[name]
    for part in ("## What you need\n", "## Common refusals\n", "coterie receipt verify "):
        assert part in text
    for part in ("coterie doctor --tee", "coterie attest make", "coterie attest peer"):
        assert part in text
    assert "coterie node " in text or "node.toml" in text


def octets(field: FieldInfo) -> int | None:
    """The number of hex digits of a key's values; None if they are no hex."""
    found = [HEX.match(str(getattr(one, "pattern", ""))) for one in constraints_of(field)]
    return next((int(match[1]) for match in found if match), None)


def filled(table: dict[str, object], section: type[Section]) -> None:
    """Puts values in the place of dots, in a section's table and in those within it."""
    for key, value in table.items():
        field = section.model_fields[key]
        if value == ["..."]:
            digits = octets(field)
            table[key] = ["AWS" if digits is None else "0" * digits]
        elif key == "pcrs" and isinstance(value, dict):
            table[key] = {number: ["0" * 64] for number in value}
        elif isinstance(value, dict):
            kinds = get_args(field.annotation) or (field.annotation,)
            (within,) = (one for one in kinds if one is not type(None))
            filled(value, within)


def contract_of(fragment: dict[str, object]) -> str:
    """A whole contract with a page's trust section."""
    trust = fragment.pop("trust")
    assert isinstance(trust, dict)
    assert fragment == {}
    roles = trust.setdefault("roles", {})
    for table in roles.values():
        filled(table, RoleTrust)
    roles.setdefault("ps", dict(OTHER))
    roles.setdefault("worker", dict(OTHER))
    trust.setdefault("tee", "sgx")
    return tomlkit.dumps(
        {
            "format": 1,
            "name": "page",
            "mode": "hfl",
            "parties": [{"name": "acme", "key": KEY}],
            "nodes": [*NODES],
            "trust": trust,
        }
    )


@pytest.mark.parametrize(("page", "text"), TOML_BLOCKS)
def test_a_block_of_toml_is_valid(page: str, text: str, tmp_path: Path) -> None:
    file = tmp_path / "block.toml"
    file.write_text(text)
    match text.partition("\n")[0]:
        case "# node.toml":
            assert read_inputs(file).name == "acme-worker"
        case "# network.toml":
            assert read_network(file).gateway is not None
        case "# policy.toml":
            assert {"format", "party", "contract", "data", "model"} == set(tomllib.loads(text))
        case _:
            parse_contract(contract_of(tomllib.loads(text)).encode(), page)


def lines(one: TeeSurvey) -> list[str]:
    """A survey as ``coterie doctor`` prints it."""
    word = "usable" if one.usable else "not usable"
    marks = ["+" if finding.present else "-" for finding in one.findings]
    return [
        f"{one.kind}  {word}: {one.summary}",
        *(
            f"  {mark} {finding.name}: {finding.detail}"
            for mark, finding in zip(marks, one.findings, strict=True)
        ),
    ]


def surveyed(root: Path, said: str) -> TeeSurvey:
    """The survey of a machine that a page describes."""
    kind, _, lacks = said.partition(" without ")
    flags = "" if lacks == "its flag" else "tdx_guest sev_snp"
    for name in ("dev/sev-guest", "dev/tdx_guest", "sys/kernel/config/tsm/report/x"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / "proc").mkdir()
    (root / "proc/cpuinfo").write_text(f"flags : fpu {flags}\n")
    if lacks == "a TPM":
        found = survey(root, which=lambda _: None)
    else:
        device = Vtpm(SimulatedVm(tdx=kind == "azure-tdx"))
        found = survey(root, which=lambda _: None, device=lambda _: device)
    return next(one for one in found if one.kind == kind)


@pytest.mark.parametrize(("page", "said", "shown"), DOCTOR_BLOCKS)
def test_a_page_shows_what_doctor_prints(page: str, said: str, shown: str, tmp_path: Path) -> None:
    seen = [line.replace(str(tmp_path), "") for line in lines(surveyed(tmp_path, said))]
    assert shown.splitlines() == seen, page


def test_every_page_shows_doctor() -> None:
    assert {page for page, _, _ in DOCTOR_BLOCKS} == set(TEXTS)


@every_page
def test_refusals_are_the_codes_own(name: str) -> None:
    (part,) = REFUSALS.findall(TEXTS[name])
    cells = re.findall(r"^\| (.*?) \|", part, re.MULTILINE)[1:]
    assert len(cells) >= 6
    source = "".join(
        path.read_text(encoding="utf-8")
        for path in sorted((REPOSITORY / "src" / "coterie").rglob("*.py"))
    )
    errors = (REPOSITORY / "docs" / "errors.md").read_text(encoding="utf-8")
    for cell in cells:
        quotes, checks = re.findall(r'"([^"]+)"', cell), re.findall(r"`([^`]+)`", cell)
        assert quotes or checks, cell
        assert [one for one in quotes if one not in source] == []
        assert [
            one for one in checks if f"`{one}`" not in errors and not re.fullmatch(r"pcr\d+", one)
        ] == []


def test_kinds_that_pages_name_exist() -> None:
    kinds = set(re.findall(r'^tee = "([a-z-]+)"', "".join(TEXTS.values()), re.MULTILINE))
    assert kinds <= set(get_args(TeeKind))
    assert {"snp", "tdx", "azure-snp", "azure-tdx"} <= kinds
