"""Chores that have one place are done there and nowhere else in the package."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import coterie

PACKAGE = Path(coterie.__file__).parent


@dataclass(frozen=True)
class Rule:
    """What may stand in some modules only.

    Attributes:
        found: Whether a node of the syntax tree is it.
        places: Modules that may have it, below the package.
        instead: What others call.
    """

    found: Callable[[ast.AST], bool]
    places: tuple[str, ...]
    instead: str


def call_with(keyword: str) -> Callable[[ast.AST], bool]:
    return lambda node: isinstance(node, ast.Call) and keyword in {one.arg for one in node.keywords}


def doubled_up_to(node: ast.AST) -> bool:
    """``min(2 * pause, longest)``."""
    return (
        isinstance(node, ast.Call)
        and ast.unparse(node.func) == "min"
        and any(ast.unparse(one).startswith("2 * ") for one in node.args)
    )


def nodes_by_name(node: ast.AST) -> bool:
    """A search for a node or party by its name, or a list of all names."""
    if not isinstance(node, ast.GeneratorExp | ast.ListComp | ast.SetComp):
        return False
    (loop, *_) = node.generators
    of_contract = isinstance(loop.iter, ast.Attribute) and loop.iter.attr in {"nodes", "parties"}
    name = f"{ast.unparse(loop.target)}.name"
    search = [ast.unparse(one).startswith(f"{name} == ") for one in loop.ifs]
    return of_contract and (any(search) or (ast.unparse(node.elt) == name and not loop.ifs))


def array_type(node: ast.AST) -> bool:
    return isinstance(node, ast.Subscript) and ast.unparse(node.value) in {"NDArray", "npt.NDArray"}


def splits_a_port(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and ast.unparse(node.func).endswith((".rpartition", ".rsplit"))
        and ast.unparse(node.args[0]) == "':'"
    )


def child_process(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "subprocess.Popen"


RULES = {
    "child processes": Rule(
        child_process, ("nodes/children.py",), "coterie.nodes.children.Children"
    ),
    "HOST:PORT": Rule(
        splits_a_port,
        ("address.py", "ratls/connections.py"),  # the latter reads gRPC's names of its peers
        "coterie.address.Address.parse",
    ),
    "types of arrays": Rule(array_type, ("arrays.py",), "the names in coterie.arrays"),
    "JSON with sorted keys": Rule(
        call_with("sort_keys"), ("canonical.py",), "coterie.canonical.canonical"
    ),
    "nodes and parties by name": Rule(
        nodes_by_name,
        ("contract/schema.py",),
        "Contract.node, party, node_names and party_names",
    ),
    "pauses that double": Rule(doubled_up_to, ("waiting.py",), "coterie.waiting.Backoff"),
}


def places(rule: Rule) -> Iterator[str]:
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_bytes())
        if any(rule.found(node) for node in ast.walk(tree)):
            yield path.relative_to(PACKAGE).as_posix()


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_chore_is_done_in_one_place(rule: Rule) -> None:
    found = set(places(rule))
    assert found == set(rule.places), f"{sorted(found - set(rule.places))}: use {rule.instead}"
