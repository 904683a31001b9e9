"""``coterie attest``: appraise and explain stored evidence, and fetch its collateral."""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from coterie.cli.attest_output import print_facts, print_outcome
from coterie.cli.attest_peer import peer
from coterie.cli.options import AsJson
from coterie.errors import EvidenceRefused
from coterie.files import read_bounded
from coterie.kinds import Role, TcbStatus, TeeKind

if TYPE_CHECKING:
    from coterie.attestation.collateral import Collateral
    from coterie.attestation.policy import Policy
    from coterie.attestation.quote import Quote
    from coterie.contract import Contract

app = typer.Typer(help="Appraise, explain and collect attestation evidence.", no_args_is_help=True)
app.command()(peer)

STATUSES: tuple[str, ...] = get_args(TcbStatus)


def _hex(octets: int) -> Callable[[list[str] | None], list[str] | None]:
    def check(values: list[str] | None) -> list[str] | None:
        for value in values or ():
            if not re.fullmatch(rf"[0-9a-fA-F]{{{2 * octets}}}", value):
                raise typer.BadParameter(f"{value!r} is not {octets} bytes in hex")
        return None if values is None else [value.lower() for value in values]

    return check


def _status(values: list[str] | None) -> list[str] | None:
    for value in values or ():
        if value not in STATUSES:
            raise typer.BadParameter(f"{value!r} is none of {', '.join(STATUSES)}")
    return values


EvidenceFile = Annotated[
    Path,
    typer.Argument(
        help="A quote, or a certificate; DER, PEM, base64 or hex.",
        metavar="FILE",
        exists=True,
        dir_okay=False,
    ),
]

At = Annotated[str | None, typer.Option(help="Appraise as of this ISO time; now if absent.")]
Values = list[str] | None


@app.command()
def verify(
    file: EvidenceFile,
    *,
    collateral: Annotated[
        Path | None,
        typer.Option(help="A collateral JSON, or a directory that `fetch` filled.", exists=True),
    ] = None,
    pccs_url: Annotated[str | None, typer.Option(help="Ask this PCCS instead (https).")] = None,
    at: At = None,
    contract: Annotated[
        Path | None, typer.Option(help="Appraise by this contract's trust section.", exists=True)
    ] = None,
    role: Annotated[Role | None, typer.Option(help="The node's role; with --contract.")] = None,
    tee: Annotated[
        TeeKind | None, typer.Option(help="Demand this TEE; a real one if absent.")
    ] = None,
    accept_status: Annotated[
        Values, typer.Option(help="Accepted TCB status; UpToDate if absent.", callback=_status)
    ] = None,
    accept_advisory: Annotated[
        Values, typer.Option(help="Accepted open advisory; not checked if absent.")
    ] = None,
    mrenclave: Annotated[
        Values, typer.Option(help="Accepted MRENCLAVE.", callback=_hex(32))
    ] = None,
    mrsigner: Annotated[Values, typer.Option(help="Accepted MRSIGNER.", callback=_hex(32))] = None,
    mrtd: Annotated[Values, typer.Option(help="Accepted MRTD.", callback=_hex(48))] = None,
    report_data: Annotated[
        Values, typer.Option(help="Demanded report data.", callback=_hex(64))
    ] = None,
    minimum_evaluation: Annotated[
        int | None, typer.Option(help="Oldest accepted TCB evaluation data number.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Appraise evidence: exit code 0 if it is accepted, 3 if it is refused.

    Without reference values only authenticity and TCB status are checked, and the output says so.

    Example: coterie attest verify quote.bin --collateral DIR --accept-status SWHardeningNeeded
    """
    from coterie.attestation.appraiser import Appraisal, assess
    from coterie.attestation.evidence import kind_of
    from coterie.attestation.policy import (
        AdvisoriesWithin,
        MeasurementIn,
        MinimumEvaluation,
        ReportDataIs,
        TcbStatusIn,
        measurements,
    )
    from coterie.attestation.quote import parse_quote
    from coterie.attestation.tee.by_kind import root_for
    from coterie.attestation.verdict import Check
    from coterie.cli.evidence_files import CERTIFICATE_CHECKS, binding, read_evidence
    from coterie.contract import load_contract
    from coterie.receipts.verification import appraiser_for

    policies: list[Policy] = [TcbStatusIn(tuple(accept_status or ("UpToDate",)))]
    if accept_advisory:
        policies.append(AdvisoriesWithin(tuple(accept_advisory)))
    if minimum_evaluation is not None:
        policies.append(MinimumEvaluation(minimum_evaluation))
    for name, accepted in (("mrenclave", mrenclave), ("mrsigner", mrsigner), ("mrtd", mrtd)):
        if accepted:
            policies.append(MeasurementIn(name, tuple(accepted)))
    policies += [ReportDataIs(bytes.fromhex(value)) for value in report_data or ()]
    if contract and (len(policies) > 1 or accept_status or tee):
        raise typer.BadParameter("--contract says it all: give no other reference values with it")
    if (contract is None) != (role is None):
        raise typer.BadParameter("--contract and --role go together")
    agreed = None if contract is None else load_contract(contract)
    moment = _moment(at)
    claimed: TeeKind | None = None
    shown: tuple[tuple[str, str], ...] = ()
    try:
        stored = read_evidence(file)
        quote = parse_quote(stored.quote)
        claimed, shown = kind_of(quote), measurements(quote.report)
        if agreed is not None and role is not None:
            kind = agreed.trust.tee
            policies = list(appraiser_for(agreed).policies(role))
        else:
            kind = tee or ("tdx" if claimed == "tdx" else "sgx")
        if stored.certificate is not None:
            policies.append(binding(stored.certificate, agreed, role, moment))
        source = _collateral(quote, collateral, pccs_url, kind, moment)
        outcome = assess(
            quote, source, kind=kind, root=root_for(kind), policies=policies, at=moment
        )
        if stored.certificate is not None:
            outcome = replace(outcome, checks=(*CERTIFICATE_CHECKS, *outcome.checks))
    except EvidenceRefused as error:
        check = Check(error.failed_check, "failed", error.seen)
        outcome = Appraisal(None, error, (check,))
    judged = {name for policy in policies for name in policy.check_names}
    remedy = None if outcome.refusal is None else _remedy(outcome.refusal, agreed, at)
    print_outcome(outcome, claimed, shown, judged, remedy=remedy, as_json=as_json)
    if outcome.refusal is not None:
        raise typer.Exit(outcome.refusal.exit_code)


@app.command()
def show(file: EvidenceFile, *, as_json: AsJson = False) -> None:
    """Explain evidence without appraising it; also certificates that no node may have.

    Example: coterie attest show certificate.pem
    """
    from coterie.cli.evidence_shown import evidence_facts

    print_facts(evidence_facts(file), as_json=as_json)


@app.command()
def fetch(
    file: EvidenceFile,
    *,
    pccs_url: Annotated[str, typer.Option(help="Address of the PCCS, https.")],
    out: Annotated[Path, typer.Option(help="Directory to fill.", file_okay=False)],
    at: At = None,
    as_json: AsJson = False,
) -> None:
    """Fetch the collateral of the platform that made a quote, for offline use.

    It is stored only if the vendor's signatures are valid; older collateral never replaces newer.

    Example: coterie attest fetch quote.bin --pccs-url https://localhost:8081 --out collateral
    """
    from coterie.attestation.collateral_source import CachedCollateral, DirectoryCollateral
    from coterie.attestation.evidence import kind_of
    from coterie.attestation.pccs import PccsCollateral
    from coterie.attestation.platforms import platform_of
    from coterie.attestation.quote import parse_quote
    from coterie.cli.evidence_files import read_evidence

    quote = parse_quote(read_evidence(file).quote)
    kind: TeeKind = "tdx" if kind_of(quote) == "tdx" else "sgx"
    directory = DirectoryCollateral(out)
    pccs, moment = PccsCollateral(pccs_url), _moment(at)
    cache = CachedCollateral(pccs, kind=kind, directory=directory)
    cache.remember(quote, pccs.collateral_for(quote, moment), moment)
    platform = platform_of(quote)
    print_facts(
        {"stored": str(out / f"{platform.name}.json"), "platform": asdict(platform)},
        as_json=as_json,
    )


def _remedy(refusal: EvidenceRefused, agreed: Contract | None, at: str | None) -> str:
    """The remedy for a refusal, in terms of this command's options if they apply."""
    check = refusal.failed_check
    if check.endswith("_validity") and at is None:
        return f"{refusal.remedy}; or judge it as of a moment within: --at TIME"
    if agreed is None and check == "tcb_status":
        return "update the platform, or accept its status: --accept-status STATUS"
    if agreed is None and check == "tee_kind":
        return "simulated and real never mix; --tee names the TEE that evidence has to be from"
    return refusal.remedy


def _collateral(
    quote: Quote, path: Path | None, pccs_url: str | None, kind: TeeKind, at: datetime
) -> Collateral:
    from coterie.attestation.collateral import MAX_COLLATERAL_BYTES, Collateral
    from coterie.attestation.collateral_source import DirectoryCollateral, SimulatedCollateral
    from coterie.attestation.pccs import PccsCollateral

    if path is not None and path.is_dir():
        return DirectoryCollateral(path).collateral_for(quote, at)
    if path is not None:
        text = read_bounded(path, MAX_COLLATERAL_BYTES)
        return Collateral.from_json(text.removeprefix(BOM_UTF8))
    if pccs_url is not None:
        return PccsCollateral(pccs_url).collateral_for(quote, at)
    if kind == "simulated":
        return SimulatedCollateral().collateral_for(quote, at)
    raise typer.BadParameter("give --collateral DIR_OR_JSON or --pccs-url URL")


def _moment(text: str | None) -> datetime:
    if text is None:
        return datetime.now(UTC)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"--at {text!r} is no ISO time") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
