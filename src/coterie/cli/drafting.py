"""Drafts a contract: makes a commented, valid TOML file from a few answers, for people to edit."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from coterie.kinds import OF_SNP, SIMULATED, Lines, Mode, TeeKind
from coterie.text import printable

if TYPE_CHECKING:
    from coterie.data.prepare.sampling import ProposedColumns

# The registers of a TDX guest that a contract has to name: contract/trust.py.
TDX_VALUES = ("mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "td_attributes", "xfam")

_FIRST_PORT = 7440
_PORT_STEP = 10  # a node that listens takes a port and the next one


@dataclass(frozen=True)
class Draft:
    """The inputs of a draft.

    Attributes:
        name: Name of the project.
        mode: Scheme.
        owners: Parties that own data; one in mode ``sdt``.
        operator: The party that runs the parameter server; in mode ``sdt`` the owner.
        workers: Number of workers in mode ``sdt``; in mode ``hfl`` every owner has one.
        tee: Kind of TEE.
        keys: Public keys by party, as contracts name them.
        table_rows: Rows of every embedding table.
        batch: Examples per worker and batch.
        local_steps: Batches between two exchanges; more than one follow docs/learning.md's recipe.
        epochs: Passes over the data.
        reference: Reference values: names of keys of ``[trust.roles.ROLE]``, and the accepted hex
            values of each; none for simulated TEEs. For ``snp`` and ``azure-snp``, those of
            ``[trust.roles.ROLE.snp]``.
        floors: For these, the patch levels below which no platform is accepted, by product line.
        pcrs: For Azure's guests, the accepted value of each PCR that is compared.
        machine: For Azure's guests, what the paravisor has to say of them.
        minimum_evaluation: Oldest accepted collateral; real TEEs only.
        columns: Columns of a party's own file; Criteo's if absent.
    """

    name: str
    mode: Mode
    owners: tuple[str, ...]
    operator: str
    workers: int = 2
    tee: TeeKind = "simulated"
    keys: Mapping[str, str] = field(default_factory=dict)
    table_rows: int = 10_000
    batch: int = 128
    local_steps: int = 1
    epochs: int = 1
    reference: Mapping[str, Sequence[str]] = field(default_factory=dict)
    floors: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    pcrs: Mapping[int, str] = field(default_factory=dict)
    machine: Mapping[str, str] = field(default_factory=dict)
    minimum_evaluation: int | None = None
    columns: ProposedColumns | None = None

    @property
    def parties(self) -> tuple[str, ...]:
        """All parties: the operator first, if it owns no data."""
        return self.owners if self.operator in self.owners else (self.operator, *self.owners)


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
    return "\n".join([*_head(draft), *_nodes(draft), *_training(draft), *_trust(draft)])


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

    def add(name: str, role: str, party: str, port: int | None = None) -> None:
        lines.extend(["[[nodes]]", f"name = {_text(name)}", f"role = {_text(role)}"])
        lines.append(f"party = {_text(party)}")
        if port is not None:
            lines.append(f'address = "127.0.0.1:{port}"')
        lines.append("")

    if draft.mode == "hfl":
        add("ps0", "ps", draft.operator, _FIRST_PORT)
        for owner in draft.owners:
            add(f"{owner}-worker", "worker", owner)
    else:
        (owner,) = draft.owners
        add("chief", "chief", owner)
        add("ps0", "ps", owner, _FIRST_PORT)
        for i in range(draft.workers):
            add(f"worker{i}", "worker", owner, _FIRST_PORT + _PORT_STEP * (i + 1))
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
    within: list[str] = []
    if draft.tee in SIMULATED:
        lines = ["# The simulated TEE proves nothing: it is for trying things out."]
        values = ['measurement = "own"  # the same package as the node itself runs']
    elif draft.tee in OF_SNP:
        lines = ["# Only what is listed is accepted. Every party checks these values itself."]
        values = []
        within = [*_snp(draft)]
    else:
        lines = ["# Only what is listed is accepted. Every party checks these values itself."]
        values = [
            f"{name} = [{', '.join(map(_text, accepted))}]"
            for name, accepted in draft.reference.items()
        ]
        values.append(f"minimum_tcb_evaluation_number = {draft.minimum_evaluation}")
    if draft.pcrs:
        within += _vtpm(draft)
    if draft.tee not in OF_SNP:
        values.append('accepted_tcb_statuses = ["UpToDate"]')
    lines += ["[trust]", f"tee = {_text(draft.tee)}"]
    roles = ("ps", "worker") if draft.mode == "hfl" else ("ps", "worker", "chief")
    for role in roles:
        lines += ["", f"[trust.roles.{role}]", *values]
        lines += [line.replace("ROLE", role) for line in within]
    return [*lines, ""]


def _snp(draft: Draft) -> Iterator[str]:
    yield "[trust.roles.ROLE.snp]"
    for name, accepted in draft.reference.items():
        plain = name == "vmpl"
        yield f"{name} = [{', '.join(accepted if plain else map(_text, accepted))}]"
    yield ""
    yield "# Below these patch levels no platform is accepted: raise them by AMD's security bulletins."
    yield "[trust.roles.ROLE.snp.minimum_tcb]"
    for product, levels in draft.floors.items():
        parts = ", ".join(f"{part} = {level}" for part, level in levels.items())
        yield f"{product} = {{ {parts} }}"


def _vtpm(draft: Draft) -> Iterator[str]:
    yield ""
    yield "[trust.roles.ROLE.vtpm]"
    for name, accepted in draft.machine.items():
        yield f"{name} = [{accepted}]"
    yield ""
    yield "# Take out PCRs that change while the guest runs; what is not listed is not compared."
    yield "[trust.roles.ROLE.vtpm.pcrs]"
    for number, value in draft.pcrs.items():
        yield f"{number} = [{_text(value)}]"


def _listed(names: Sequence[str]) -> str:
    return f"[{', '.join(map(_text, names))}]"


def _comment(text: str) -> str:
    """Text of a file in one line, for a comment."""
    return printable(text, 80)


def _text(value: str) -> str:
    """A TOML basic string; JSON's escapes are TOML's (TOML 1.0, "String")."""
    return json.dumps(value, ensure_ascii=False)
