"""Reference values for a drafted contract, from options, answers and evidence; nothing is appraised."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from coterie.cli.drafting import TDX_VALUES
from coterie.cli.questions import Questions, refuse
from coterie.errors import UsageError
from coterie.kinds import OF_TDX, TeeKind

if TYPE_CHECKING:
    from coterie.attestation.snp.quote import SnpQuote


def reference_of(
    ask: Questions, kind: TeeKind, mrenclave: list[str], evidence: Path | None
) -> dict[str, tuple[str, ...]]:
    """The reference values of an enclave or a trust domain: options, else evidence, else answers."""
    found: Mapping[str, str] = {}
    if evidence is not None:
        found = _measured(evidence, kind)
    if kind in OF_TDX:
        refuse("--mrenclave", mrenclave, "it is for sgx")
        if not found:
            file = ask.text("evidence", "File with a quote of the agreed guest", None)
            found = _measured(Path(file), kind)
        return {name: (found[name],) for name in TDX_VALUES}
    values = [*(one.lower() for one in mrenclave)]
    values += [found["mrenclave"]] if found else []
    if not values:
        values = ask.text("mrenclave", "Accepted MRENCLAVE, hex", None).lower().split()
    return {"mrenclave": tuple(dict.fromkeys(values))}


def of_a_guest(
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


def of_a_tpm(file: Path, kind: TeeKind) -> tuple[dict[int, str], dict[str, str]]:
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
