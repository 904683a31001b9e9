"""``coterie doctor``: what TEE, devices, Gramine, kernel interfaces and PCCS this machine has."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coterie.errors import EnvironmentUnfit
from coterie.kinds import TeeKind

if TYPE_CHECKING:
    from coterie.attestation.tee.survey import TeeSurvey


def doctor(
    tee: Annotated[
        TeeKind | None, typer.Option("--tee", help="Fail (exit code 7) unless this TEE is usable.")
    ] = None,
    pccs_url: Annotated[
        str | None, typer.Option("--pccs-url", help="Also try this PCCS (https).")
    ] = None,
    root: Annotated[
        Path, typer.Option("--root", help="Root of the file tree to look at.", hidden=True)
    ] = Path("/"),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Tell what this machine has of each TEE and what is missing.

    Example: coterie doctor --tee sgx --pccs-url https://localhost:8081
    """
    from coterie.attestation.tee.survey import survey
    from coterie.cli import console

    surveys = survey(root)
    pccs = None if pccs_url is None else _try_pccs(pccs_url)
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
                "pccs": None
                if pccs is None
                else {"url": pccs_url, "usable": not pccs, "seen": pccs},
            }
        )
    else:
        for one in surveys:
            _print(one)
        if pccs is not None:
            console.out.print(
                f"[bold]pccs[/]  {pccs or 'answers'}", highlight=False, soft_wrap=True
            )
    chosen = next((one for one in surveys if one.kind == tee), None)
    if chosen is not None and not chosen.usable:
        missing = [one.detail for one in chosen.findings if one.needed and not one.present]
        raise EnvironmentUnfit(
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


def _try_pccs(url: str) -> str:
    """Empty if the PCCS answers, else what went wrong."""
    from coterie.attestation.pccs import UrllibHttps

    try:
        UrllibHttps().get(f"{url.rstrip('/')}/sgx/certification/v4/qe/identity")
    except EnvironmentUnfit as error:
        return f"{error.what}: {error.seen}"
    return ""
