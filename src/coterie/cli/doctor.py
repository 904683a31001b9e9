"""``coterie doctor``: what TEE, devices, Gramine, interfaces, native code and PCCS this machine has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coterie.cli.options import AsJson, Root, TdQuoteUrl, TeeSocket
from coterie.errors import CoterieError, EnvironmentUnfit, EvidenceRefused
from coterie.kinds import TeeKind

if TYPE_CHECKING:
    from coterie.aes_path import AesPath
    from coterie.attestation.tee.survey import TeeSurvey
    from coterie.plane.choice import Choice


def doctor(
    tee: Annotated[
        TeeKind | None,
        typer.Option("--tee", help="Of this TEE alone; fail (exit code 7) unless it is usable."),
    ] = None,
    *,
    pccs_url: Annotated[
        str | None,
        typer.Option("--pccs-url", help="Also try this PCCS (https), and fail unless it answers."),
    ] = None,
    kds_url: Annotated[
        str | None,
        typer.Option(
            "--kds-url",
            help="Also try AMD's key distribution service here (https), and fail unless it answers.",
        ),
    ] = None,
    td_quote_url: TdQuoteUrl = None,
    tee_socket: TeeSocket = None,
    root: Root = Path("/"),
    build: Annotated[
        bool,
        typer.Option("--build", help="First build the native kernels; needs a C compiler."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Report what this machine has of each TEE and what is missing.

    With --tee-socket or --td-quote-url that service is asked for a quote, too.
    The last lines say what computes the exchange (native kernels, or NumPy) and what encrypts it.

    Example: coterie doctor --tee sgx --pccs-url https://localhost:8081
    """
    from rich.markup import escape

    from coterie.attestation.collateral_options import td_quotes_from_options
    from coterie.attestation.tee.survey import survey
    from coterie.cli import console
    from coterie.plane.choice import choice

    if build:
        from coterie.plane.building import KERNEL_LIBRARY

        KERNEL_LIBRARY.build()
    td_quotes = td_quotes_from_options("azure-tdx", td_quote_url)
    surveys = survey(root, launcher=tee_socket, td_quotes=td_quotes)
    computing, sealing = choice(), _sealing(root)
    pccs = None if pccs_url is None else _fault_of(pccs_url)
    kds = None if kds_url is None else _fault_of_amd(kds_url)
    fault = _unusable(tee, surveys) or pccs or kds
    if as_json:
        console.print_json(
            {
                "tees": {
                    one.kind: {
                        "usable": one.usable,
                        "summary": one.summary,
                        "findings": [asdict(finding) for finding in one.findings],
                    }
                    for one in surveys
                },
                "kernels": {
                    "computed_by": computing.kernels.name,
                    "native": computing.missing is None,
                    "missing": str(computing.missing or ""),
                },
                "records": asdict(sealing),
                "pccs": _service_facts(pccs_url, pccs),
                "kds": _service_facts(kds_url, kds),
            }
        )
        raise typer.Exit(fault.exit_code if fault else 0)  # the JSON object says why
    for one in surveys:
        if tee in {None, one.kind}:
            _print(one)
    _print_kernels(computing)
    hint = f"; {sealing.hint}" if sealing.hint else ""
    console.out.print(
        f"[bold]records[/]  {escape(f'{sealing.openssl}, {sealing.instructions}{hint}')}",
        highlight=False,
        soft_wrap=True,
    )
    for name, url, wrong in (("pccs", pccs_url, pccs), ("kds", kds_url, kds)):
        if url is not None:
            said = escape(f"{wrong.what}: {wrong.seen}") if wrong else "answers"
            console.out.print(f"[bold]{name}[/]  {said}", highlight=False, soft_wrap=True)
    if fault is not None:
        raise fault


def _service_facts(url: str | None, wrong: CoterieError | None) -> dict[str, object] | None:
    """What is to say of a vendor's service, if one was named."""
    if url is None:
        return None
    return {
        "url": url,
        "usable": wrong is None,
        "seen": f"{wrong.what}: {wrong.seen}" if wrong else "",
        "remedy": wrong.remedy if wrong else "",
    }


def _sealing(root: Path) -> AesPath:
    """What encrypts the data connections of nodes: the OpenSSL of `cryptography`."""
    from cryptography.hazmat.backends.openssl import backend

    from coterie.aes_path import aes_path_by_kernel

    try:
        cpuinfo = (root / "proc/cpuinfo").read_text()
    except OSError:
        cpuinfo = ""
    return aes_path_by_kernel(backend.openssl_version_text(), cpuinfo)


def _unusable(kind: TeeKind | None, surveys: Sequence[TeeSurvey]) -> EnvironmentUnfit | None:
    chosen = next((one for one in surveys if one.kind == kind), None)
    if chosen is None or chosen.usable:
        return None
    missing = [one.detail for one in chosen.findings if one.needed and not one.present]
    return EnvironmentUnfit(
        f"the TEE {chosen.kind} cannot be used here",
        expected="every needed part",
        seen="; ".join(missing),
        remedy="do what is said behind each missing part, then run `coterie doctor` again",
    )


def _print(one: TeeSurvey) -> None:
    from rich.markup import escape

    from coterie.cli import console

    word = "[green]usable[/]" if one.usable else "[yellow]not usable[/]"
    console.out.print(
        f"[bold]{one.kind}[/]  {word}: {escape(one.summary)}", highlight=False, soft_wrap=True
    )
    for finding in one.findings:
        mark = (
            "[green]+[/]" if finding.present else ("[red]-[/]" if finding.needed else "[dim]-[/]")
        )
        console.out.print(
            f"  {mark} {finding.name}: {escape(finding.detail)}", highlight=False, soft_wrap=True
        )


def _print_kernels(computing: Choice) -> None:
    from rich.markup import escape

    from coterie.cli import console

    missing = computing.missing
    said = f": {missing.what}; {missing.remedy}" if missing else ""
    console.out.print(
        f"[bold]kernels[/]  {escape(computing.kernels.name + said)}",
        highlight=False,
        soft_wrap=True,
    )


def _fault_of(url: str) -> CoterieError | None:
    """The fault of a PCCS, if it has one."""
    from coterie.attestation.pccs import PccsCollateral

    try:
        PccsCollateral(url).check()
    except (EnvironmentUnfit, EvidenceRefused) as error:
        return error
    return None


def _fault_of_amd(url: str) -> CoterieError | None:
    """The fault of AMD's key distribution service, if it has one."""
    from coterie.attestation.kds import KdsCollateral

    try:
        KdsCollateral(url).check()
    except EnvironmentUnfit as error:
        return error
    return None
