"""Reference values for a drafted contract, from options, answers and evidence; nothing is appraised."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from coterie.cli.drafting_trust import TDX_VALUES, Accepted
from coterie.cli.questions import Questions
from coterie.errors import UsageError
from coterie.kinds import OF_SNP, OF_TDX, TeeKind

if TYPE_CHECKING:
    from coterie.attestation.authentic import AnyQuote
    from coterie.attestation.snp.quote import SnpQuote


def evidence_by_kind(files: Sequence[Path], kinds: Collection[TeeKind]) -> dict[TeeKind, AnyQuote]:
    """The quotes in files, by the kind of TEE that each claims to be from.

    Args:
        files: The files.
        kinds: The kinds that nodes run in.

    Raises:
        UsageError: A file is of another kind, or there are two of one.
    """
    found: dict[TeeKind, AnyQuote] = {}
    for file in files:
        kind, quote = _read(file, kinds)
        if kind in found:
            raise UsageError(
                f"{file} is evidence of the same TEE as another file",
                expected="one --evidence per kind of TEE",
                seen=kind,
                remedy="give one, and put further values into the contract with `coterie contract pin`",
            )
        found[kind] = quote
    return found


def accepted_of(
    kind: TeeKind,
    ask: Questions,
    quote: AnyQuote | None,
    *,
    mrenclave: Sequence[str],
) -> Accepted:
    """What a contract accepts of a real kind of TEE: by options, else by evidence, else by answers.

    Args:
        kind: The kind.
        ask: Asks for what is open.
        quote: Evidence of this kind, if a file was named.
        mrenclave: Accepted MRENCLAVEs; for SGX.

    Raises:
        UsageError: Something is open, or a file is evidence of another TEE.
    """
    if kind == "sgx" and quote is None:
        values = [one.lower() for one in mrenclave]
        values = values or ask.text("mrenclave", "Accepted MRENCLAVE, hex", None).lower().split()
        return Accepted({"mrenclave": tuple(dict.fromkeys(values))})
    if quote is None:
        question = (
            f"File with evidence of the agreed guest in {kind} (`coterie attest make` writes it)"
        )
        _, quote = _read(Path(ask.text("evidence", question, None)), {kind})
    found = dict(quote.measurements)
    pcrs = {n: found[f"pcr{n}"] for n in range(24) if f"pcr{n}" in found}
    machine: dict[str, str] = {
        name: found[name] for name in ("secure_boot", "console") if name in found
    }
    if kind in OF_SNP:
        reference, floors = _of_a_guest(quote)
        return Accepted(reference, floors, pcrs, machine)
    if kind in OF_TDX:
        reference = {name: (found[name],) for name in TDX_VALUES}
    else:
        listed = (*(one.lower() for one in mrenclave), found["mrenclave"])
        reference = {"mrenclave": tuple(dict.fromkeys(listed))}
    return Accepted(reference, {}, pcrs, machine)


def _of_a_guest(
    quote: AnyQuote,
) -> tuple[dict[str, tuple[str, ...]], dict[str, Mapping[str, int]]]:
    """The reference values and the committed TCB in SNP evidence."""
    from coterie.attestation.snp.products import PARTS, PRODUCTS
    from coterie.attestation.snp.quote import SnpQuote

    hardware = quote.hardware
    assert isinstance(hardware, SnpQuote)  # by its kind
    names = [name for name in PRODUCTS if hardware.chain[1].common_name.endswith(f"-{name}")]
    tcb = PRODUCTS[names[0]].tcb(hardware.report.committed_tcb) if names else None
    if tcb is None:
        raise UsageError(
            "the evidence is of a product line that is not known",
            expected=" or ".join(PRODUCTS),
            seen=hardware.chain[1].common_name or "no name",
        )
    found = dict(hardware.measurements)
    levels = {part: getattr(tcb, part) for part in PARTS if getattr(tcb, part) is not None}
    keys = ("launch_measurement", "guest_policy", "vmpl", "signing_key")
    reference: dict[str, tuple[str, ...]] = {name: (found[name],) for name in keys}
    csp_id = _cloud(hardware)
    if csp_id is not None:
        reference["csp_id"] = (csp_id,)
    return reference, {names[0].lower(): levels}


def _cloud(quote: SnpQuote) -> str | None:
    """The cloud provider in a VLEK's certificate; None in a VCEK's."""
    from coterie.attestation.snp.endorsement import CSP_ID

    value = dict(quote.chain[0].extensions).get(CSP_ID)
    return None if value is None else value[2:].decode("ascii", "replace")


def _read(file: Path, kinds: Collection[TeeKind]) -> tuple[TeeKind, AnyQuote]:
    """The evidence in a file, and its kind, without appraisal."""
    from coterie.attestation.evidence import parse_evidence
    from coterie.cli.evidence_files import read_evidence

    if not file.is_file():
        raise UsageError(f"there is no file {file}", expected="a quote or a certificate")
    quote = parse_evidence(read_evidence(file).quote)
    kind = quote.kind
    if kind not in kinds:
        raise UsageError(
            f"{file} is evidence of another TEE",
            expected=" or ".join(kinds),
            seen=kind,
            remedy="name evidence of the agreed program, or another --tee",
        )
    return kind, quote
