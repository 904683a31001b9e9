"""``coterie init``: drafts a contract from the answers to a few questions."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer
from rich.markup import escape

from coterie.cli import console
from coterie.cli.drafting import TDX_VALUES, Draft, draft_contract, sizes_for
from coterie.cli.options import AsJson
from coterie.cli.questions import Questions
from coterie.errors import OutputInUse, UsageError
from coterie.kinds import OF_SNP, OF_TDX, OF_VTPM, SIMULATED, Lines, Mode, TeeKind
from coterie.text import printable

if TYPE_CHECKING:
    from coterie.attestation.snp.quote import SnpQuote

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
    mrenclave: Annotated[
        list[str] | None, typer.Option(metavar="HEX", help="Accepted MRENCLAVE; sgx only.")
    ] = None,
    evidence: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Take the reference values from this quote or certificate, which you have appraised "
            "(`coterie attest verify`); all real TEEs.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    minimum_evaluation: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Oldest accepted TCB evaluation data number; sgx and tdx."
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
        _refuse("--label", label, "it names a column of --from FILE")
    ask = Questions(silent=yes)
    mode: Mode = scheme or ask.choice("scheme", "Scheme", get_args(Mode), "hfl")
    owners, keys = _owners(ask, mode, party or [])
    if mode == "hfl":
        _refuse("--workers", workers, "in hfl every party has one worker")
        spoken = operator or ask.text("operator", "Who runs the parameter server", "operator")
        running, key = _named(spoken)
        keys |= {running: key} if key else {}
    else:
        _refuse("--operator", operator, "in sdt the owner runs everything")
        running = owners[0]
        workers = workers or ask.number("workers", "How many rented workers", 2)
    about = examples or ask.number("examples", "About how many rows of data has an owner", 100_000)
    between: Lines = lines or ask.choice(
        "lines", "Lines between the machines", get_args(Lines), "fast"
    )
    kind: TeeKind = tee or ask.choice("tee", "TEE", get_args(TeeKind), "simulated")
    table_rows, batch, local_steps = sizes_for(about, between)
    reference: dict[str, tuple[str, ...]] = {}
    floors: dict[str, Mapping[str, int]] = {}
    pcrs: dict[int, str] = {}
    machine: dict[str, str] = {}
    if kind in SIMULATED:
        for option, value in (
            ("--mrenclave", mrenclave),
            ("--evidence", evidence),
            ("--minimum-evaluation", minimum_evaluation),
        ):
            _refuse(option, value, "the simulated TEE has no reference values")
    else:
        if kind in OF_VTPM:
            question = "File with evidence of the agreed guest"
            evidence = evidence or Path(ask.text("evidence", question, None))
            pcrs, machine = _of_a_tpm(evidence, kind)
        if kind in OF_SNP:
            _refuse("--mrenclave", mrenclave, "it is for sgx")
            _refuse("--minimum-evaluation", minimum_evaluation, "AMD numbers no TCB recoveries")
            file = evidence or Path(ask.text("evidence", "File with a report of the guest", None))
            reference, floors = _of_a_guest(file)
        else:
            reference = _reference(ask, kind, mrenclave or [], evidence)
            question = "Oldest accepted TCB evaluation data number"
            minimum_evaluation = minimum_evaluation or ask.number(
                "minimum-evaluation", question, None
            )
        for one in dict.fromkeys((running, *owners)):
            option = "operator" if one == running and one not in owners else "party"
            keys[one] = keys.get(one) or ask.text(option, _KEY.format(one), None)
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
        reference=reference,
        floors=floors,
        pcrs=pcrs,
        machine=machine,
        minimum_evaluation=minimum_evaluation,
        columns=columns,
    )
    _write(out, draft, from_, as_json=as_json)


def _write(out: Path, draft: Draft, raw: Path | None, *, as_json: bool) -> None:
    from coterie.contract import contract_digest, parse_contract
    from coterie.files import write_new

    text = draft_contract(draft)
    agreed = parse_contract(text.encode(), str(out))
    try:
        write_new(out, text.encode())
    except FileExistsError as error:
        raise OutputInUse.exists(out) from error
    except OSError as error:
        raise OutputInUse.unwritable(f"the contract {out}", error) from error
    digest = contract_digest(agreed).hex()
    if as_json:
        value: dict[str, object] = {
            "file": str(out),
            "name": agreed.name,
            "contract_digest": digest,
        }
        if draft.columns is not None:
            value["prepare"] = _prepare(out, draft, raw)
            value["unread"] = draft.columns.unread
            value["doubtful"] = dict(draft.columns.doubtful)
        console.print_json(value)
        return
    typer.echo(
        f"{out}: contract {agreed.name}, {agreed.mode}, {len(agreed.nodes)} nodes of "
        f"{len(agreed.parties)} {'party' if len(agreed.parties) == 1 else 'parties'}, "
        f"tee {agreed.trust.kinds_in_words}"
    )
    if draft.columns is not None:
        found = draft.columns
        typer.echo(
            f"{raw}: label {printable(found.label)}, {len(found.numeric)} numeric and {len(found.categorical)} categorical columns, "
            f"about {found.rows:,} rows"
        )
        for name, why in found.left_out.items():
            typer.echo(f"left out: {printable(name)}: {why}")
        for name, why in found.doubtful.items():
            console.err.print(
                f"[yellow]warning:[/] {escape(printable(name))} is taken for no number: {escape(why)}",
                highlight=False,
                soft_wrap=True,
            )
        if found.skipped:
            console.err.print(
                f"[yellow]warning:[/] {found.skipped:,} of the rows looked at cannot be read: {escape(printable(found.unread, None))}",
                highlight=False,
                soft_wrap=True,
            )
    typer.echo(f"next: {_prepare(out, draft, raw)}")
    if raw is None:
        typer.echo("no data at hand: coterie synthesize RAW makes a file to try it with")


def _prepare(out: Path, draft: Draft, raw: Path | None) -> str:
    """The shell command that prepares the file."""
    words = [
        "coterie",
        "prepare",
        "RAW" if raw is None else str(raw),
        "data",
        "--contract",
        str(out),
    ]
    if (found := draft.columns) is not None:
        words += ["--label", found.label] if found.label != "label" else []
        words += ["--dialect", found.dialect] if found.dialect != "strict" else []
        for name, header in found.columns.items():
            words += ["--column", f"{name}={header}"]
    return shlex.join(words)


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


def _reference(
    ask: Questions, kind: TeeKind, mrenclave: list[str], evidence: Path | None
) -> dict[str, tuple[str, ...]]:
    found: Mapping[str, str] = {}
    if evidence is not None:
        found = _measured(evidence, kind)
    if kind in OF_TDX:
        _refuse("--mrenclave", mrenclave, "it is for sgx")
        if not found:
            file = ask.text("evidence", "File with a quote of the agreed guest", None)
            found = _measured(Path(file), kind)
        return {name: (found[name],) for name in TDX_VALUES}
    values = [*(one.lower() for one in mrenclave)]
    values += [found["mrenclave"]] if found else []
    if not values:
        values = ask.text("mrenclave", "Accepted MRENCLAVE, hex", None).lower().split()
    return {"mrenclave": tuple(dict.fromkeys(values))}


def _of_a_guest(
    file: Path,
) -> tuple[dict[str, tuple[str, ...]], dict[str, Mapping[str, int]]]:
    """The reference values and the committed TCB in SNP evidence, without appraisal."""
    from coterie.attestation.evidence import parse_evidence
    from coterie.attestation.policy import measurements
    from coterie.attestation.snp.products import PARTS, PRODUCTS
    from coterie.attestation.snp.quote import SnpQuote
    from coterie.attestation.vtpm.quote import hardware_of
    from coterie.cli.evidence_files import read_evidence

    if not file.is_file():
        raise UsageError(f"there is no file {file}", expected="evidence of an SNP guest")
    quote = hardware_of(parse_evidence(read_evidence(file).quote))
    if not isinstance(quote, SnpQuote):
        raise UsageError(f"{file} is evidence of another TEE", expected="snp", seen="a DCAP quote")
    names = [name for name in PRODUCTS if quote.chain[1].common_name.endswith(f"-{name}")]
    tcb = PRODUCTS[names[0]].tcb(quote.report.committed_tcb) if names else None
    if tcb is None:
        raise UsageError(
            f"{file} is evidence of a product line that is not known",
            expected=" or ".join(PRODUCTS),
            seen=quote.chain[1].common_name or "no name",
        )
    found = dict(measurements(quote.report))
    levels = {part: getattr(tcb, part) for part in PARTS if getattr(tcb, part) is not None}
    keys = ("launch_measurement", "guest_policy", "vmpl", "signing_key")
    reference: dict[str, tuple[str, ...]] = {name: (found[name],) for name in keys}
    csp_id = _cloud(quote)
    if csp_id is not None:
        reference["csp_id"] = (csp_id,)
    return reference, {names[0].lower(): levels}


def _of_a_tpm(file: Path, kind: TeeKind) -> tuple[dict[int, str], dict[str, str]]:
    """The PCRs in evidence of a virtual TPM, and what the paravisor says, without appraisal."""
    found = _measured(file, kind)
    pcrs = {n: found[f"pcr{n}"] for n in range(24) if f"pcr{n}" in found}
    return pcrs, {name: found[name] for name in ("secure_boot", "console")}


def _cloud(quote: SnpQuote) -> str | None:
    """The cloud provider in a VLEK's certificate; None in a VCEK's."""
    from coterie.attestation.snp.endorsement import CSP_ID

    value = dict(quote.chain[0].extensions).get(CSP_ID)
    return None if value is None else value[2:].decode("ascii", "replace")


def _measured(file: Path, kind: TeeKind) -> Mapping[str, str]:
    """The measurements in evidence, without appraisal."""
    from coterie.attestation.evidence import kind_of, parse_evidence
    from coterie.attestation.policy import measurements
    from coterie.cli.evidence_files import read_evidence

    if not file.is_file():
        raise UsageError(f"there is no file {file}", expected="a quote or a certificate")
    quote = parse_evidence(read_evidence(file).quote)
    if kind_of(quote) != kind:
        raise UsageError(
            f"{file} is evidence of another TEE",
            expected=kind,
            seen=kind_of(quote),
            remedy="name evidence of the agreed program, or another --tee",
        )
    return dict(measurements(quote.report))


def _refuse(option: str, value: object, why: str) -> None:
    if value:
        raise UsageError(
            f"{option} does not belong here: {why}",
            expected=f"no {option}",
            seen=option,
            remedy="`coterie init --help` tells what there is",
        )


def _name_of(out: Path) -> str:
    """Makes a DNS label from a file's name."""
    kept = "".join(c if c.isascii() and c.isalnum() else "-" for c in out.stem.lower())
    return kept.strip("-")[:63].strip("-") or "contract"
