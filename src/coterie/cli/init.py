"""``coterie init``: drafts a contract from the answers to a few questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, get_args

import typer

from coterie.cli.drafted import write_draft
from coterie.cli.drafting import Draft, sizes_for
from coterie.cli.drafting_trust import Accepted
from coterie.cli.options import AsJson
from coterie.cli.questions import Questions, refuse
from coterie.cli.reference_values import accepted_of, evidence_by_kind
from coterie.errors import OutputInUse, UsageError
from coterie.kinds import OF_SNP, SIMULATED, Lines, Mode, TeeKind

_KEY = "Public key of {}, ed25519:... (`coterie contract keygen` prints it)"


def init(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The contract, TOML; a new file.")],
    *,
    from_: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="Your own raw file with a header: columns, types, table sizes and number of rows are taken from it.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The label's name in FILE's header; recognised if absent."
        ),
    ] = None,
    scheme: Annotated[
        Mode | None,
        typer.Option(help="hfl: every company keeps its data; sdt: one rents computers."),
    ] = None,
    party: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[=KEY]",
            help="A company that owns data, with its public key if it has one; repeatable in hfl.",
        ),
    ] = None,
    operator: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[=KEY]", help="The party that runs the parameter server; hfl only."
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=1000, metavar="N", help="Rented workers; sdt only.")
    ] = None,
    examples: Annotated[
        int | None,
        typer.Option(min=14, metavar="N", help="About how many rows of data an owner has."),
    ] = None,
    epochs: Annotated[
        int, typer.Option(min=1, max=10_000, metavar="N", help="Passes over the data.")
    ] = 1,
    lines: Annotated[
        Lines | None,
        typer.Option(
            help="Connections between the machines: over thin ones (below about 100 Mbit/s), exchanges are rare."
        ),
    ] = None,
    tee: Annotated[TeeKind | None, typer.Option(help="The TEE that nodes run in.")] = None,
    tee_of: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=TEE",
            help="Another TEE for a role (worker=snp) or a node (acme-worker=azure-snp); repeatable.",
        ),
    ] = None,
    mrenclave: Annotated[
        list[str] | None, typer.Option(metavar="HEX", help="Accepted MRENCLAVE; sgx only.")
    ] = None,
    evidence: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Take the reference values from this evidence (`coterie attest make`), which you have appraised "
            "(`coterie attest verify`); all real TEEs, one file for each.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    minimum_evaluation: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Oldest accepted TCB evaluation data number; sgx, tdx and azure-tdx.",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Name of the joint training; OUT's by default."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing: use defaults.")] = False,
    as_json: AsJson = False,
) -> None:
    """Ask a few questions and write a commented, valid contract. Nothing is overwritten.

    With --from, the contract's columns are proposed from a sample of a file: check them. Every
    question has an option, and is not asked if the option is given. The answers are what parties
    have to agree on; everything else has the default in docs/contract.md.

    Example: coterie init contract.toml --from shop.csv --party acme --party bolt --yes
    """
    if out.exists():
        raise OutputInUse.exists(out)
    columns = None
    if from_ is not None:
        from coterie.data.prepare.sampling import propose_columns

        columns = propose_columns(from_, label)
        examples = examples or (columns.rows if columns else None)
    else:
        refuse("--label", label, "it names a column of --from FILE")
    ask = Questions(silent=yes)
    mode: Mode = scheme or ask.choice("scheme", "Scheme", get_args(Mode), "hfl")
    owners, keys = _owners(ask, mode, party or [])
    if mode == "hfl":
        refuse("--workers", workers, "in hfl every party has one worker")
        spoken = operator or ask.text("operator", "Who runs the parameter server", "operator")
        running, key = _named(spoken)
        keys |= {running: key} if key else {}
    else:
        refuse("--operator", operator, "in sdt the owner runs everything")
        running = owners[0]
        workers = workers or ask.number("workers", "How many rented workers", 2)
    about = examples or ask.number("examples", "About how many rows of data has an owner", 100_000)
    between: Lines = lines or ask.choice(
        "lines", "Lines between the machines", get_args(Lines), "fast"
    )
    kind: TeeKind = tee or ask.choice("tee", "TEE", get_args(TeeKind), "simulated")
    table_rows, batch, local_steps = sizes_for(about, between)
    draft = Draft(
        name=name or _name_of(out),
        mode=mode,
        owners=owners,
        operator=running,
        workers=workers or 2,
        tee=kind,
        keys=keys,
        table_rows=table_rows,
        batch=batch,
        local_steps=local_steps,
        epochs=epochs,
        tees=_tees(ask, tee_of),
        columns=columns,
    )
    _check_names(draft)
    kinds = {draft.kind_of(node): None for node in draft.nodes}
    given = _Given(mrenclave or [], evidence or [], minimum_evaluation)
    accepted = _accepted(ask, [one for one in kinds if one not in SIMULATED], given)
    if accepted:
        for one in dict.fromkeys((running, *owners)):
            option = "operator" if one == running and one not in owners else "party"
            keys[one] = keys.get(one) or ask.text(option, _KEY.format(one), None)
    draft = replace(draft, accepted=accepted, keys=keys)
    write_draft(out, draft, from_, as_json=as_json)


@dataclass(frozen=True)
class _Given:
    """Options that say what is accepted."""

    mrenclave: list[str]
    evidence: list[Path]
    minimum_evaluation: int | None


def _accepted(ask: Questions, kinds: Sequence[TeeKind], given: _Given) -> dict[TeeKind, Accepted]:
    """What is accepted of each real kind that nodes run in."""
    of_intel = [kind for kind in kinds if kind not in OF_SNP]
    none = "the simulated TEE has no reference values"
    if not kinds:
        refuse("--evidence", given.evidence, none)
    if "sgx" not in kinds:
        refuse("--mrenclave", given.mrenclave, "it is for sgx" if kinds else none)
    if not of_intel:
        why = "AMD numbers no TCB recoveries" if kinds else none
        refuse("--minimum-evaluation", given.minimum_evaluation, why)
    quotes = evidence_by_kind(given.evidence, kinds)
    accepted = {
        kind: accepted_of(kind, ask, quotes.get(kind), mrenclave=given.mrenclave) for kind in kinds
    }
    if not of_intel:
        return accepted
    question = "Oldest accepted TCB evaluation data number"
    number = given.minimum_evaluation or ask.number("minimum-evaluation", question, None)
    return accepted | {
        kind: replace(accepted[kind], minimum_evaluation=number) for kind in of_intel
    }


def _tees(ask: Questions, said: list[str] | None) -> dict[str, TeeKind]:
    """Kinds of TEE by role or node."""
    if said is None:
        question = "Roles or nodes in other TEEs, as worker=snp or acme-worker=azure-snp"
        said = [one for one in ask.text("tee-of", question, "none").split() if one != "none"]
    found: dict[str, TeeKind] = {}
    for one in said:
        name, kind = _named(one)
        known = next((each for each in get_args(TeeKind) if each == kind), None)
        if known is None or name in found:
            raise UsageError(
                f"{one!r} names no TEE of a role or node",
                expected=f"NAME=TEE, once for a name, with one of {', '.join(get_args(TeeKind))}",
                seen=one,
                remedy="`coterie init --help` tells what there is",
            )
        found[name] = known
    return found


def _check_names(draft: Draft) -> None:
    named = (name for node in draft.nodes for name in (node.name, node.role))
    names = list(dict.fromkeys(named))
    for name in draft.tees:
        if name not in names:
            raise UsageError.unknown(
                f"the contract has no role or node {name[:100]!r}", name, names, "name one of these"
            )


def _owners(ask: Questions, mode: Mode, said: list[str]) -> tuple[tuple[str, ...], dict[str, str]]:
    if not said and mode == "hfl":
        said = ask.text("party", "Companies that own data", "acme bolt").split()
    elif not said:
        said = [ask.text("party", "The company that owns the data", "owner")]
    named = [_named(one) for one in said]
    if mode == "sdt" and len(named) != 1:
        raise UsageError(
            "sdt has one owner of data",
            expected="one --party",
            seen=", ".join(owner for owner, _ in named),
            remedy="name one, or take --scheme hfl",
        )
    return tuple(owner for owner, _ in named), {owner: key for owner, key in named if key}


def _named(text: str) -> tuple[str, str]:
    name, _, key = text.strip().partition("=")
    return name, key


def _name_of(out: Path) -> str:
    """Makes a DNS label from a file's name."""
    kept = "".join(c if c.isascii() and c.isalnum() else "-" for c in out.stem.lower())
    return kept.strip("-")[:63].strip("-") or "contract"
