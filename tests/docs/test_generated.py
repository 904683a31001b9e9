"""The generated parts of pages are current, complete, and say what the schema and the command tree say."""

from __future__ import annotations

import re
from typing import Annotated, Literal

import pytest
from pydantic import Field

from coterie.contract.section import Section
from handbook import command_line, contract_keys, generated
from handbook.commands import verbs

SECTIONS = contract_keys.sections()


def test_pages_are_current() -> None:
    """If this fails: ``make pages``."""
    assert [page.name for page in generated.stale()] == []


def test_pages_ask_for_all_that_there_is() -> None:
    assert generated.asked_for() == set(generated.generators())


def test_a_page_that_asks_for_something_else_is_refused() -> None:
    with pytest.raises(KeyError, match="keys of Nothing"):
        generated.renewed("<!-- generated: keys of Nothing -->\n<!-- end -->\n")


def test_what_people_write_around_a_part_stays() -> None:
    before, after = "# Page\n\n<!-- generated: keys of Party -->\n", "<!-- end -->\n\nMore.\n"
    made = generated.renewed(f"{before}old\n{after}")
    assert made.startswith(before)
    assert made.endswith(after)
    assert "old" not in made
    assert generated.renewed(made) == made


def test_all_sections_are_found() -> None:
    assert {"Contract", "Node", "RateSchedule", "RoleTrust", "TrustSection"} <= {
        section.__name__ for section in SECTIONS
    }


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_every_key_is_explained_once(section: type[Section]) -> None:
    keys = re.findall(r"^\| `([a-z_0-9]+)` \|", contract_keys.table(section), flags=re.MULTILINE)
    assert keys == list(section.model_fields)
    assert set(contract_keys.meanings_of(section)) == set(section.model_fields)


class Sample(Section):
    """A section of every kind of key.

    Attributes:
        kind: ``one`` | ``two``,
            and no other.
        size: How large.
        share: Of it.
        digest: Hex.
        digests: Several.
        names: Named.
        sizes: By name.
        absent: May be.
    """

    kind: Literal["one", "two"]
    size: Annotated[int, Field(ge=1, lt=2**63)] = 3
    share: Annotated[float, Field(gt=0, le=0.5)] = 0.25
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    digests: tuple[Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")], ...] = ()
    names: Annotated[tuple[str, ...], Field(min_length=1, max_length=9)] = ("a",)
    sizes: dict[str, Annotated[int, Field(ge=2)]] = {}
    absent: bool | None = None


def test_a_table_says_type_default_bounds_and_meaning() -> None:
    assert contract_keys.table(Sample).splitlines()[2:] == [
        r'| `kind` | `"one"` or `"two"` | required |  | `one` \| `two`, and no other |',
        "| `size` | integer | `3` | 1 to below 2^63 | How large |",
        "| `share` | number | `0.25` | above 0, at most 0.5 | Of it |",
        "| `digest` | hex | none | 64 digits | Hex |",
        "| `digests` | list of hex | `[]` | 12 digits each | Several |",
        '| `names` | list of text | `["a"]` | 1 to 9 entries | Named |',
        "| `sizes` | table of integers | `{}` | at least 2 each | By name |",
        "| `absent` | boolean | none |  | May be |",
    ]


class Silent(Section):
    """A section that explains nothing."""

    key: int


def test_a_key_without_a_meaning_is_refused() -> None:
    with pytest.raises(KeyError, match="Silent does not explain key"):
        contract_keys.table(Silent)


def test_the_command_line_page_has_every_verb_and_parameter() -> None:
    text = command_line.reference()
    for verb in verbs():
        _, _, part = text.partition(f"# `{verb.name}`\n")
        part = part.partition("\n## ")[0].partition("\n### ")[0]
        assert verb.summary in part
        assert verb.example in part
        for one in verb.parameters:
            if one.spellings[0] not in {"--verbose", "--log-format"}:
                assert f"`{one.spellings[0]}`" in part
