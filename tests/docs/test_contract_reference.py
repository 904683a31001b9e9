"""docs/contract.md names every key of the contract with its type, default and bounds, and no other."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args, get_origin

import annotated_types
import pytest
from pydantic.fields import FieldInfo

from coterie.contract import (
    Contract,
    DataSection,
    DenseOptimizer,
    KerasModelSection,
    LayerSection,
    ModelSection,
    Node,
    ParameterSection,
    Party,
    RateSchedule,
    ResultsSection,
    RoleTrust,
    RowOptimizer,
    TrainingSection,
    TrustSection,
)
from coterie.contract.layers import ACTIVATIONS, LAYERS
from coterie.contract.section import Section
from coterie.contract.training import EnclaveSection, LimitsSection
from coterie.contract.trust import RolesTrust

PAGE = Path(__file__).parents[2] / "docs" / "contract.md"

SECTIONS: dict[str, type[Section]] = {
    "contract": Contract,
    "[[parties]]": Party,
    "[[nodes]]": Node,
    "[data]": DataSection,
    "[model]": ModelSection,
    "[model], kind keras": KerasModelSection,
    "[[model.layers]]": LayerSection,
    "[[model.parameters]]": ParameterSection,
    "[training]": TrainingSection,
    "[training.dense]": DenseOptimizer,
    "[training.rows]": RowOptimizer,
    "[training.schedule]": RateSchedule,
    "[limits]": LimitsSection,
    "[results]": ResultsSection,
    "[enclave]": EnclaveSection,
    "[trust]": TrustSection,
    "[trust.roles]": RolesTrust,
    "[trust.roles.ROLE]": RoleTrust,
}
FIELDS = [
    (title, name, field)
    for title, section in SECTIONS.items()
    for name, field in section.model_fields.items()
]


@dataclass(frozen=True)
class Row:
    """A line of one of the page's tables of keys."""

    type: str
    default: str
    bounds: str


def documented() -> dict[str, dict[str, Row]]:
    """The page's tables of keys by section title."""
    tables: dict[str, dict[str, Row]] = {}
    for part in re.split(r"^#{2,3} ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        title, _, body = part.partition("\n")
        rows = tables.setdefault(title.strip("` "), {})
        for line in body.splitlines():
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if line.startswith("| `") and len(cells) == 5:
                rows[cells[0].strip("`")] = Row(cells[1], cells[2], cells[3])
    return {title: rows for title, rows in tables.items() if rows}


def default_of(field: FieldInfo) -> str:
    """A field's default as the page writes it."""
    if field.is_required():
        return "required"
    value: object = field.default
    if value is None:
        return "none"
    if isinstance(value, Section):
        return "all defaults"
    if isinstance(value, tuple):
        value = list(value)
        if len(value) > 10:
            return f'`["{value[0]}", ..., "{value[-1]}"]`'
    return f"`{json.dumps(value)}`"


def annotations_of(annotation: object, metadata: list[object]) -> list[object]:
    """A field's type and everything inside of it, with the constraints on the way."""
    found = [annotation, *metadata]
    inner = get_args(annotation)
    if get_origin(annotation) is Literal:
        return found
    for item in inner:
        found += annotations_of(item, [])
    return [*found, *(c for item in found for c in getattr(item, "metadata", ()))]


def constraints_of(field: FieldInfo) -> list[int | float]:
    """Every number that bounds a field, or the entries of it."""
    numbers: list[int | float] = []
    for found in annotations_of(field.annotation, list(field.metadata)):
        match found:
            case annotated_types.Ge(ge=bound) | annotated_types.Gt(gt=bound):
                numbers.append(bound)  # type: ignore[arg-type]
            case annotated_types.Le(le=bound) | annotated_types.Lt(lt=bound):
                numbers.append(bound)  # type: ignore[arg-type]
            case (
                annotated_types.MinLen(min_length=bound) | annotated_types.MaxLen(max_length=bound)
            ):
                numbers.append(bound)
            case _:
                pass
    return numbers


def spellings(number: float) -> set[str]:
    """How the page may write a bound."""
    powers = {2**16: "2^16", 2**63: "2^63"}
    return {f"{abs(number):.0f}", powers.get(int(number), "")}


def test_the_page_has_exactly_the_sections_of_the_schema() -> None:
    assert set(documented()) == set(SECTIONS)


@pytest.mark.parametrize("title", SECTIONS)
def test_a_section_lists_exactly_the_keys_of_the_schema(title: str) -> None:
    assert list(documented()[title]) == list(SECTIONS[title].model_fields)


@pytest.mark.parametrize(("title", "name", "field"), FIELDS)
def test_a_key_has_its_default(title: str, name: str, field: FieldInfo) -> None:
    assert documented()[title][name].default == default_of(field)


@pytest.mark.parametrize(("title", "name", "field"), FIELDS)
def test_a_key_has_its_bounds(title: str, name: str, field: FieldInfo) -> None:
    row = documented()[title][name]
    words = set(re.findall(r"[0-9^]+", row.bounds))
    for number in constraints_of(field):
        assert spellings(number) & words, (number, row)


@pytest.mark.parametrize(("title", "name", "field"), FIELDS)
def test_a_key_lists_its_choices(title: str, name: str, field: FieldInfo) -> None:
    row = documented()[title][name]
    for found in annotations_of(field.annotation, []):
        if get_origin(found) is Literal:
            for choice in get_args(found):
                assert f"`{json.dumps(choice)}`" in row.type


def test_the_page_lists_every_layer_with_its_options_and_every_activation() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for kind, rule in LAYERS.items():
        options = ", ".join(f"`{name}`" for name in sorted(rule.options)) or "none"
        assert f"| `{kind}` | {options} |" in text
    assert ", ".join(f"`{name}`" for name in sorted(ACTIVATIONS)) in text


def test_the_constraints_are_found_at_all() -> None:
    bounds = {name: constraints_of(field) for _, name, field in FIELDS}
    assert bounds["batch"] == [1, 65_536]
    assert set(bounds["bottom"]) == {1, 32, 65_536}
    assert set(bounds["column_rows"]) == {2, 1_000_000_000}
    assert set(bounds["minimum_isv_svn"]) == {0, 2**16}
