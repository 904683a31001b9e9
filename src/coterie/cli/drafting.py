"""Drafts a contract: makes a commented, valid TOML file from a few answers, for people to edit."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from coterie.cli.drafting_trust import Accepted, trust_lines
from coterie.kinds import SIMULATED, Lines, Mode, Role, TeeKind
from coterie.text import printable

if TYPE_CHECKING:
    from coterie.data.prepare.sampling import ProposedColumns

_FIRST_PORT = 7440
_PORT_STEP = 10  # a node that listens takes a port and the next one


@dataclass(frozen=True)
class DraftedNode:
    """A node of a draft: what ``[[nodes]]`` says of it. Those that listen have a port."""

    name: str
    role: Role
    party: str
    port: int | None = None


@dataclass(frozen=True)
class Draft:
    """The inputs of a draft.

    Attributes:
        name: Name of the project.
        mode: Scheme.
        owners: Parties that own data; one in mode ``sdt``.
        operator: The party that runs the parameter server; in mode ``sdt`` the owner.
        workers: Number of workers in mode ``sdt``; in mode ``hfl`` every owner has one.
        tee: Kind of TEE of all nodes that ``tees`` does not name.
        tees: Other kinds, by names of nodes or roles; a node's name goes before its role's.
        keys: Public keys by party, as contracts name them.
        table_rows: Rows of every embedding table.
        batch: Examples per worker and batch.
        local_steps: Batches between two exchanges; more than one follow docs/learning.md's recipe.
        epochs: Passes over the data.
        accepted: What is accepted, for each real kind of TEE that some node runs in.
        columns: Columns of a party's own file; Criteo's if absent.
    """

    name: str
    mode: Mode
    owners: tuple[str, ...]
    operator: str
    workers: int = 2
    tee: TeeKind = "simulated"
    tees: Mapping[str, TeeKind] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)
    table_rows: int = 10_000
    batch: int = 128
    local_steps: int = 1
    epochs: int = 1
    accepted: Mapping[TeeKind, Accepted] = field(default_factory=dict)
    columns: ProposedColumns | None = None

    @property
    def parties(self) -> tuple[str, ...]:
        """All parties: the operator first, if it owns no data."""
        return self.owners if self.operator in self.owners else (self.operator, *self.owners)

    @property
    def nodes(self) -> tuple[DraftedNode, ...]:
        """All nodes, in the order of the contract."""
        if self.mode == "hfl":
            workers = (DraftedNode(f"{owner}-worker", "worker", owner) for owner in self.owners)
            return DraftedNode("ps0", "ps", self.operator, _FIRST_PORT), *workers
        (owner,) = self.owners
        rented = (
            DraftedNode(f"worker{i}", "worker", owner, _FIRST_PORT + _PORT_STEP * (i + 1))
            for i in range(self.workers)
        )
        server = DraftedNode("ps0", "ps", owner, _FIRST_PORT)
        return DraftedNode("chief", "chief", owner), server, *rented

    def kind_of(self, node: DraftedNode) -> TeeKind:
        """The kind of TEE that a node runs in."""
        return self.tees.get(node.name) or self.tees.get(node.role) or self.tee

    def kinds_of(self, role: Role) -> tuple[TeeKind, ...]:
        """The kinds of TEE of a role's nodes; the contract's own first."""
        kinds = dict.fromkeys(self.kind_of(node) for node in self.nodes if node.role == role)
        return tuple(sorted(kinds, key=lambda kind: kind != self.tee))


def sizes_for(examples: int, lines: Lines = "fast") -> tuple[int, int, int]:
    """Rows per embedding table, batch and local steps for an owner's number of examples.

    Small batches learn most from few examples; with many examples, larger batches need less network
    traffic (docs/benchmarks.md). Tables have many more rows than trained ids, since an untrained id
    must not be scored with another id's row (decision record 39). On slow connections, where a step's
    parameters take seconds, workers train small batches on their own copies between two exchanges.
    """
    many = examples >= 1_000_000
    table_rows = 1_000_000 if many else 100_000
    if lines == "thin":
        return table_rows, 128, 64 if many else 16
    return table_rows, 2048 if many else 128, 1


def demonstration(mode: Mode) -> Draft:
    """The small contracts of ``examples/`` and of ``coterie demo``."""
    if mode == "hfl":
        owners = ("acme", "bolt", "corn", "dune")
        return Draft("hfl-example", "hfl", owners, "operator", table_rows=2000)
    return Draft("sdt-example", "sdt", ("owner",), "owner", table_rows=2000, batch=256)


def draft_contract(draft: Draft) -> str:
    """The contract's TOML text."""
    return "\n".join([*_head(draft), *_nodes(draft), *_training(draft), *_trust(draft), ""])


def _head(draft: Draft) -> list[str]:
    what = (
        "Companies train one model; each keeps its data on its own machine."
        if draft.mode == "hfl"
        else "One company rents computers: its chief sends its data to attested workers only."
    )
    lines = [
        f"# {what}",
        "# All parties agree on every value of this file: its digest is part of every attestation.",
        "# docs/contract.md explains every key. `coterie contract show` prints the terms.",
        "format = 1",
        f"name = {_text(draft.name)}",
        f"mode = {_text(draft.mode)}",
        "",
    ]
    if draft.tee in SIMULATED and not draft.keys:
        lines += [
            "# Parties without a key are for the simulated TEE only: `coterie run` makes temporary",
            '# keys. `coterie contract keygen` makes a real one; it goes here as key = "ed25519:...".',
        ]
    for party in draft.parties:
        lines += ["[[parties]]", f"name = {_text(party)}"]
        if party in draft.keys:
            lines.append(f"key = {_text(draft.keys[party])}")
        lines.append("")
    return lines


def _nodes(draft: Draft) -> list[str]:
    lines = [
        "# Addresses are hints outside of the digest: enter those of the machines. A node uses",
        "# that port and the next one. Nodes without an address only dial out.",
    ]

    for node in draft.nodes:
        lines += ["[[nodes]]", f"name = {_text(node.name)}", f"role = {_text(node.role)}"]
        lines.append(f"party = {_text(node.party)}")
        if len(draft.kinds_of(node.role)) > 1:
            lines.append(f"tee = {_text(draft.kind_of(node))}")
        if node.port is not None:
            lines.append(f'address = "127.0.0.1:{node.port}"')
        lines.append("")
    return lines


def _data(draft: Draft) -> list[str]:
    hashed = [
        "# Ids are hashed to the rows of a table; ids that a party sees less than min_count times share one row.",
        f"rows = {draft.table_rows}",
        "min_count = 2",
        "hash_seed = 2022",
    ]
    found = draft.columns
    if found is None:
        return ["# Columns are Criteo's unless they are listed here.", "[data]", *hashed]
    return [
        f"# Proposed from a sample of a file whose label is {_comment(found.label)}. All parties' files need these columns.",
        *(f"# Left out: {_comment(name)}: {why}." for name, why in found.left_out.items()),
        "[data]",
        f"numeric = {_listed(found.numeric)}",
        *(
            [f"decimals = {{ {', '.join(f'{name} = {n}' for name, n in found.decimals.items())} }}"]
            if found.decimals
            else []
        ),
        f"categorical = {_listed(found.categorical)}",
        *hashed,
        "",
        "# About twice as many rows as ids were estimated from the sample.",
        "[data.column_rows]",
        *(f"{name} = {rows}" for name, rows in found.column_rows.items()),
    ]


def _training(draft: Draft) -> list[str]:
    return [
        *_data(draft),
        "",
        "[training]",
        f"batch = {draft.batch}  # examples per worker and batch",
        *([f"local_steps = {draft.local_steps}", _EXCHANGE] if draft.local_steps > 1 else []),
        f"epochs = {draft.epochs}",
        "checkpoint_steps = 20  # steps that an interruption costs at most",
        "seed = 7",
        "",
        *(_LOCAL if draft.local_steps > 1 else _EVERY_BATCH),
        "# The parties that own data get the trained model, and the optimizers' state, with which a later",
        "# run continues as if none had ended (`coterie run --continue`).",
        "[results]",
        "optimizer_state = true",
        "",
    ]


_EVERY_BATCH = [
    "[training.dense]",
    'kind = "adagrad"',
    "learning_rate = 0.01",
    "",
    "[training.rows]",
    'kind = "rowwise_adagrad"',
    "learning_rate = 0.01",
    "",
]

_EXCHANGE = 'exchange = "bfloat16"  # gradients in half of the bits; "int8" takes a quarter'

# The recipe for slow connections of docs/learning.md; benchmarks/local_steps.py measures it.
_LOCAL = [
    "# Workers train local_steps batches on copies of their own before they exchange the changes:",
    "# for slow connections. docs/learning.md says what this costs and saves.",
    "[training.local]",
    'dense = { kind = "factored_adagrad", learning_rate = 0.003 }',
    'rows = { kind = "rowwise_adagrad", learning_rate = 0.01 }',
    'row_merge = "adagrad"',
    "",
    "# How the server applies the mean change of all copies.",
    "[training.dense]",
    'kind = "nesterov"',
    "learning_rate = 0.7",
    "momentum = 0.7",
    "",
    "[training.rows]",
    'kind = "sgd"',
    "learning_rate = 1.0",
    "",
]


def _trust(draft: Draft) -> list[str]:
    roles: tuple[Role, ...] = ("ps", "worker") if draft.mode == "hfl" else ("ps", "worker", "chief")
    return trust_lines(draft.tee, [(role, draft.kinds_of(role)) for role in roles], draft.accepted)


def _listed(names: Sequence[str]) -> str:
    return f"[{', '.join(map(_text, names))}]"


def _comment(text: str) -> str:
    """Text of a file in one line, for a comment."""
    return printable(text, 80)


def _text(value: str) -> str:
    """A TOML basic string; JSON's escapes are TOML's (TOML 1.0, "String")."""
    return json.dumps(value, ensure_ascii=False)
