"""``coterie attest``: appraise and explain stored evidence, and fetch its collateral."""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from coterie.cli.attest_make import make
from coterie.cli.attest_output import print_facts, print_outcome
from coterie.cli.attest_peer import peer
from coterie.cli.options import AsJson, ContractFile
from coterie.errors import EvidenceRefused
from coterie.files import read_bounded
from coterie.kinds import OF_SNP, SIMULATED, Role, TcbStatus, TeeKind

if TYPE_CHECKING:
    from coterie.attestation.authentic import AnyCollateral, AnyQuote
    from coterie.attestation.collateral_source import CollateralSource
    from coterie.attestation.policy import Policy
    from coterie.contract import Contract

app = typer.Typer(help="Appraise, explain and collect attestation evidence.", no_args_is_help=True)
app.command()(peer)
app.command()(make)

# The real kind that is demanded where simulated evidence comes and no kind is named.
_REAL: dict[TeeKind, TeeKind] = {
    "simulated": "sgx",
    "simulated-snp": "snp",
    "simulated-azure-snp": "azure-snp",
    "simulated-azure-tdx": "azure-tdx",
}
_PCR = re.compile(r"([0-9]|1[0-9]|2[0-3])=([0-9a-fA-F]{64})")
STATUSES: tuple[str, ...] = get_args(TcbStatus)


def _hex(octets: int) -> Callable[[list[str] | None], list[str] | None]:
    def check(values: list[str] | None) -> list[str] | None:
        for value in values or ():
            if not re.fullmatch(rf"[0-9a-fA-F]{{{2 * octets}}}", value):
                raise typer.BadParameter(f"{value!r} is not {octets} bytes in hex")
        return None if values is None else [value.lower() for value in values]

    return check


def _pcr(values: list[str] | None) -> list[str] | None:
    for value in values or ():
        if not _PCR.fullmatch(value):
            raise typer.BadParameter(f"{value!r} is not NUMBER=HEX, a PCR and its 32 bytes")
    return None if values is None else [value.lower() for value in values]


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

OutFolder = Annotated[Path, typer.Option("--out", help="Directory to fill.", file_okay=False)]
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
    kds_url: Annotated[
        str | None, typer.Option(help="Ask AMD's key distribution service instead (https).")
    ] = None,
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
    launch_measurement: Annotated[
        Values, typer.Option(help="Accepted launch digest of an SNP guest.", callback=_hex(48))
    ] = None,
    pcr: Annotated[
        Values,
        typer.Option(
            metavar="NUMBER=HEX", help="Accepted value of a PCR of a virtual TPM.", callback=_pcr
        ),
    ] = None,
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
    from coterie.attestation.evidence import parse_evidence
    from coterie.attestation.policy import TcbStatusIn
    from coterie.attestation.tee.by_kind import root_for
    from coterie.attestation.verdict import Check
    from coterie.cli.evidence_files import CERTIFICATE_CHECKS, binding, kind_for, read_evidence
    from coterie.contract import load_contract
    from coterie.receipts.verification import appraiser_for

    references = {
        "mrenclave": mrenclave,
        "mrsigner": mrsigner,
        "mrtd": mrtd,
        "launch_measurement": launch_measurement,
    }
    for value in pcr or ():
        number, _, digest = value.partition("=")
        references[f"pcr{number}"] = [*(references.get(f"pcr{number}") or ()), digest]
    policies = _demanded(references, report_data, accept_advisory, minimum_evaluation)
    if contract and (policies or accept_status or tee):
        raise typer.BadParameter("--contract says it all: give no other reference values with it")
    if (contract is None) != (role is None):
        raise typer.BadParameter("--contract and --role go together")
    agreed = None if contract is None else load_contract(contract)
    moment = _moment(at)
    claimed: TeeKind | None = None
    shown: tuple[tuple[str, str], ...] = ()
    try:
        stored = read_evidence(file)
        quote = parse_evidence(stored.quote)
        claimed, shown = quote.kind, quote.measurements
        if agreed is not None and role is not None:
            kind = kind_for(stored.certificate, agreed, role, claimed)
            held = collateral if collateral is not None and collateral.is_dir() else None
            policies = list(appraiser_for(agreed, held).policies(role, kind))
        else:
            kind = tee or _REAL.get(claimed, claimed)
            if kind not in OF_SNP:
                policies.insert(0, TcbStatusIn(tuple(accept_status or ("UpToDate",))))
        if stored.certificate is not None:
            policies.append(binding(stored.certificate, agreed, role, moment, kind=kind))
        source = _collateral(quote, collateral, pccs_url, kds_url, moment, kind=kind)
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
    tables = agreed.trust.tables(role) if agreed and role else {}
    tokens = any(table.tokens for table in tables.values())
    print_outcome(outcome, claimed, shown, judged, tokens=tokens, remedy=remedy, as_json=as_json)
    if outcome.refusal is not None:
        raise typer.Exit(outcome.refusal.exit_code)


def _demanded(
    references: Mapping[str, Values],
    report_data: Values,
    accept_advisory: Values,
    minimum_evaluation: int | None,
) -> list[Policy]:
    """The policies that options name."""
    from coterie.attestation.policy import (
        AdvisoriesWithin,
        MeasurementIn,
        MinimumEvaluation,
        ReportDataIs,
    )

    policies: list[Policy] = []
    if accept_advisory:
        policies.append(AdvisoriesWithin(tuple(accept_advisory)))
    if minimum_evaluation is not None:
        policies.append(MinimumEvaluation(minimum_evaluation))
    policies += [
        MeasurementIn(name, tuple(accepted)) for name, accepted in references.items() if accepted
    ]
    return [*policies, *(ReportDataIs(bytes.fromhex(value)) for value in report_data or ())]


@app.command()
def show(file: EvidenceFile, *, as_json: AsJson = False) -> None:
    """Explain evidence without appraising it; also certificates that no node may have.

    Example: coterie attest show certificate.pem
    """
    from coterie.cli.evidence_shown import evidence_facts

    print_facts(evidence_facts(file), as_json=as_json)


@app.command()
def endorsements(
    contract: ContractFile,
    *,
    url: Annotated[
        str, typer.Option(help="Address of the publisher's storage, or of a copy of it, https.")
    ],
    out: OutFolder,
    at: At = None,
    as_json: AsJson = False,
) -> None:
    """Fetch the launch endorsements that a contract demands, for directories of collateral.

    They are stored only if a publisher that the contract names has signed them.

    Example: coterie attest endorsements c.toml --url https://storage.googleapis.com/gce_tcb_integrity --out DIR
    """
    from coterie.attestation.endorsed.fetching import PublishersStorage, fetch_endorsements
    from coterie.contract import load_contract

    trust = load_contract(contract).trust
    stored = fetch_endorsements(trust, PublishersStorage(url), out, _moment(at))
    print_facts({"stored": [str(path) for path in stored]}, as_json=as_json)


@app.command()
def fetch(
    file: EvidenceFile,
    *,
    pccs_url: Annotated[
        str | None, typer.Option(help="Address of the PCCS, https; for SGX and TDX.")
    ] = None,
    kds_url: Annotated[
        str | None, typer.Option(help="Address of AMD's key distribution service; for SNP.")
    ] = None,
    out: OutFolder,
    at: At = None,
    as_json: AsJson = False,
) -> None:
    """Fetch the collateral of the platform that made a quote, for offline use.

    It is stored only if the vendor's signatures are valid; older collateral never replaces newer.

    Example: coterie attest fetch quote.bin --pccs-url https://localhost:8081 --out collateral
    """
    from coterie.attestation.collateral_source import CachedCollateral, DirectoryCollateral
    from coterie.attestation.evidence import parse_evidence
    from coterie.cli.evidence_files import read_evidence

    quote = parse_evidence(read_evidence(file).quote)
    claimed = quote.kind
    directory, moment = DirectoryCollateral(out), _moment(at)
    source = _service(pccs_url, kds_url)
    if source is None:
        raise typer.BadParameter("give --pccs-url or --kds-url, by the TEE that made the evidence")
    cache = CachedCollateral(source, kinds={_REAL.get(claimed, claimed)}, directory=directory)
    cache.remember(quote, source.collateral_for(quote, moment), moment)
    platform = quote.platform()
    print_facts(
        {"stored": str(out / f"{platform.name}.json"), "platform": dict(vars(platform))},
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
    quote: AnyQuote,
    path: Path | None,
    pccs_url: str | None,
    kds_url: str | None,
    at: datetime,
    *,
    kind: TeeKind,
) -> AnyCollateral:
    from coterie.attestation.collateral_source import DirectoryCollateral, SimulatedCollateral
    from coterie.attestation.evidence import read_collateral
    from coterie.attestation.json_collateral import MAX_COLLATERAL_BYTES

    if path is not None and path.is_dir():
        return DirectoryCollateral(path).collateral_for(quote, at)
    if path is not None:
        text = read_bounded(path, MAX_COLLATERAL_BYTES)
        return read_collateral(text.removeprefix(BOM_UTF8))
    if (source := _service(pccs_url, kds_url)) is not None:
        return source.collateral_for(quote, at)
    if kind in SIMULATED:
        return SimulatedCollateral().collateral_for(quote, at)
    raise typer.BadParameter("give --collateral DIR_OR_JSON, --pccs-url URL or --kds-url URL")


def _service(pccs_url: str | None, kds_url: str | None) -> CollateralSource | None:
    """The vendors' services that are named; None without any."""
    from coterie.attestation.collateral_source import ByVendor, StapledOnly
    from coterie.attestation.kds import KdsCollateral
    from coterie.attestation.pccs import PccsCollateral

    if pccs_url is None and kds_url is None:
        return None
    return ByVendor(
        intel=StapledOnly() if pccs_url is None else PccsCollateral(pccs_url),
        amd=StapledOnly() if kds_url is None else KdsCollateral(kds_url),
    )


def _moment(text: str | None) -> datetime:
    if text is None:
        return datetime.now(UTC)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"--at {text!r} is no ISO time") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
