"""``coterie contract show`` and ``diff``: what parties read before they sign."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coterie.cli import console
from coterie.cli.options import AsJson, ContractFile
from coterie.errors import ContractMismatch
from coterie.text import printable

if TYPE_CHECKING:
    from coterie.contract.terms import Group, Term

_HEADS = {
    "trust": "trust: who is believed",
    "release": "release: what leaves, to whom, over how many",
    "training": "training",
    "data": "data",
    "limits": "limits and names",
}
# Holds for every role in every contract.
_ALWAYS = ("accepted_tcb_statuses", "accepted_advisories", "fmspc", "ppid")
_LONGEST = 8


def show(
    contract: ContractFile,
    *,
    as_json: AsJson = False,
) -> None:
    """Show all that a contract sets: digests, parties, nodes, and its terms, trust and release first.

    Example: coterie contract show examples/hfl.toml
    """
    from coterie.contract import contract_digest, data_digest, load_contract
    from coterie.contract.terms import GROUPS, terms_of

    agreed = load_contract(contract)
    digests = {
        "contract_digest": contract_digest(agreed).hex(),
        "data_digest": data_digest(agreed.data).hex(),
    }
    terms = [term for term in terms_of(agreed) if not term.key.startswith(("parties", "nodes"))]
    groups = {group: [term for term in terms if term.group == group] for group in GROUPS}
    if as_json:
        summary = {
            "name": agreed.name,
            "mode": agreed.mode,
            "tee": agreed.trust.tee,
            **digests,
            "parties": [party.model_dump(mode="json") for party in agreed.parties],
            "nodes": [
                {**node.model_dump(mode="json"), "tee": agreed.kind_of(node)}
                for node in agreed.nodes
            ],
            "signatures_demanded": agreed.trust.signatures_demanded,
            "checkpoints_sealed": agreed.trust.checkpoints_sealed,
            "terms": {
                group: {term.key: term.value for term in found} for group, found in groups.items()
            },
        }
        console.print_json(summary)
        return
    lines = [f"contract {agreed.name}: mode {agreed.mode}, tee {agreed.trust.kinds_in_words}"]
    lines += [f"{name:16} {value}" for name, value in digests.items()]
    for party in agreed.parties:
        more = f" until {party.key_not_after}" if party.key_not_after else ""
        more += f", next {party.next_key}" if party.next_key else ""
        lines.append(f"party  {party.name:20} {party.key or '(no key: simulated only)'}{more}")
    for node in agreed.nodes:
        where = f" at {node.address}" if node.address else ""
        kind = f" in {agreed.kind_of(node)}" if len(agreed.trust.kinds) > 1 else ""
        lines.append(f"node   {node.name:20} {node.role:7} of {node.party}{kind}{where}")
    derived = {
        "trust": {
            "signatures": "demanded of all parties"
            if agreed.trust.signatures_demanded
            else "not demanded",
            "checkpoints": "sealed" if agreed.trust.checkpoints_sealed else "IN THE CLEAR",
        }
    }
    for group, found in groups.items():
        lines += [_HEADS[group], *_lines(group, found, derived.get(group, {}))]
    typer.echo("\n".join(printable(line, None) for line in lines))


def _lines(group: Group, terms: Iterable[Term], derived: dict[str, str]) -> Iterable[str]:
    yield from (f"  {name:44} {value}" for name, value in derived.items())
    for term in terms:
        name = term.key.rpartition(".")[2]
        if term.key.startswith("trust.roles.") and term.default and name not in _ALWAYS:
            continue
        if term.key.startswith(("model.layers[", "model.parameters[")):
            continue  # by name only; the JSON output has them complete
        words = term.words
        if group == "data" and isinstance(term.value, list) and len(term.value) > _LONGEST:
            words = f"{len(term.value)}: {term.value[0]} to {term.value[-1]}"
        if name in {"fmspc", "ppid"} and not term.value:
            words = "any platform"
        if term.key in {"name", "mode", "format", "trust.tee"}:
            continue  # printed above
        yield f"  {term.key:44} {words}"


def diff(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="The earlier contract, TOML.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="The later contract, TOML.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Describe the changes between two contracts in words, the most dangerous first.

    The order is trust, release, training, data, limits and names; in each, changes that accept or
    release more come first. Exit code 0 if they are the same contract, 4 if not; addresses do not
    count.

    Example: coterie contract diff examples/hfl.toml examples/paper-hfl.toml
    """
    from coterie.contract import contract_digest, load_contract
    from coterie.contract.terms import GROUPS, changes_between

    before, after = load_contract(old), load_contract(new)
    digests = [contract_digest(one).hex() for one in (before, after)]
    same = digests[0] == digests[1]
    changes = changes_between(before, after)
    if as_json:
        found = [{"group": change.group, **asdict(change)} for change in changes]
        console.print_json({"same": same, "old": digests[0], "new": digests[1], "changes": found})
    else:
        lines = [f"old {digests[0]}", f"new {digests[1]}" + (": the same" if same else "")]
        for group in GROUPS:
            of_group = [change for change in changes if change.group == group]
            lines += [_HEADS[group]] if of_group else []
            for change in of_group:
                mark = {"looser": "LOOSER ", "tighter": "tighter", "other": "       "}
                lines.append(f"  {mark[change.effect]} {change.key}: {change.what}")
                lines.append(f"          {change.meaning}")
        typer.echo("\n".join(printable(line, None) for line in lines))
    if not same:
        raise typer.Exit(ContractMismatch.exit_code)
