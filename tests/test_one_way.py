"""Chores that have one place are done there and nowhere else in the package."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
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
    search = [ast.unparse(one).startswith(f"{name} == ") for one in (*loop.ifs, node.elt)]
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


def named(*names: str) -> Callable[[ast.AST], bool]:
    """A call of a function or method of one of these names."""
    return lambda node: isinstance(node, ast.Call) and ast.unparse(node.func).endswith(names)


def one_more_than_the_most(node: ast.AST) -> bool:
    """``file.read(MAX + 1)``."""
    return named(".read")(node) and any(
        ast.unparse(one).endswith(" + 1") for one in ast.walk(node) if isinstance(one, ast.BinOp)
    )


RULES = {
    "syncs and changes of names": Rule(
        named("os.fsync", "os.replace", "os.rename", "os.link", ".rename", ".hardlink_to"),
        ("files.py",),
        "write_whole, written_aside, write_new, made_new, move_over, move_new, sync of files.py",
    ),
    "bounded reads of files": Rule(one_more_than_the_most, ("files.py",), "files.read_bounded"),
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


@cache
def modules() -> dict[str, list[ast.AST]]:
    """The nodes of every module's syntax tree, by its place below the package."""
    return {
        path.relative_to(PACKAGE).as_posix(): list(ast.walk(ast.parse(path.read_bytes())))
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def places(rule: Rule) -> Iterator[str]:
    for place, nodes in modules().items():
        if any(map(rule.found, nodes)):
            yield place


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_chore_is_done_in_one_place(rule: Rule) -> None:
    found = set(places(rule))
    assert found == set(rule.places), f"{sorted(found - set(rule.places))}: use {rule.instead}"
