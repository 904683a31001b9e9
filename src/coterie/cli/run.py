"""``coterie run``, ``local`` and ``bench``: whole runs on this machine."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Annotated

import typer

from coterie.cli import console
from coterie.cli.progress import shown
from coterie.contract import load_contract

ContractFile = Annotated[
    Path, typer.Argument(help="The contract, a TOML file.", metavar="CONTRACT")
]
DataFolder = Annotated[
    Path, typer.Option("--data", help="What `coterie prepare` wrote: one folder per party.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def run(
    contract_file: ContractFile,
    data: DataFolder,
    out: Annotated[Path, typer.Option("--out", help="The run's directory, new or to resume.")],
    as_json: AsJson = False,
) -> None:
    """Train: every node of the contract as an attested process on this machine.

    Example: coterie run examples/hfl.toml --data prepared --out run1
    """
    from coterie.nodes.run import run_processes

    contract = load_contract(contract_file)
    with shown(console.err, contract.name) as on_event:
        result = run_processes(contract, data, out, on_event)
    if as_json:
        console.print_json(result.model_dump())
    else:
        console.print_result(result, contract.name)


def local(
    contract_file: ContractFile,
    data: DataFolder,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="New directory for the result and the trained model."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train the same in one process, without attestation: the reference for every run.

    Example: coterie local examples/hfl.toml --data prepared --out local1
    """
    from coterie.nodes.run import run_in_process

    contract = load_contract(contract_file)
    with shown(console.err, contract.name) as on_event:
        result = run_in_process(contract, data, on_event, out=out)
    if as_json:
        console.print_json(result.model_dump())
    else:
        console.print_result(result, contract.name)


def bench(
    contract_file: ContractFile,
    data: DataFolder,
    repeat: Annotated[int, typer.Option(min=1, max=100, help="Alternating pairs.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Train attested and in plaintext in turn; print both and the ratio of their training times.

    Example: coterie bench examples/sdt.toml --data prepared --repeat 5 --json
    """
    from coterie.nodes.run import run_processes

    contract = load_contract(contract_file)
    plaintext_node = (sys.executable, "-m", "coterie.plaintext")
    pairs = []
    with tempfile.TemporaryDirectory(prefix="coterie-bench-") as scratch:
        for i in range(repeat):
            with shown(console.err, f"{contract.name} attested") as on_event:
                attested = run_processes(contract, data, Path(scratch, f"attested-{i}"), on_event)
            with shown(console.err, f"{contract.name} PLAINTEXT") as on_event:
                plaintext = run_processes(
                    contract,
                    data,
                    Path(scratch, f"plaintext-{i}"),
                    on_event,
                    transport="PLAINTEXT",
                    command=plaintext_node,
                )
            pairs.append((attested, plaintext))
    attested, plaintext = pairs[-1]
    overheads = [one.seconds / other.seconds for one, other in pairs]
    if as_json:
        console.print_json(
            {
                "attested": attested.model_dump(),
                "plaintext": plaintext.model_dump(),
                "overhead": median(overheads),
                "overheads": overheads,
                "same_model": attested.model_digest == plaintext.model_digest,
            }
        )
        return
    console.print_result(attested, f"{contract.name}, attested")
    console.print_result(plaintext, f"{contract.name}, plaintext")
    same = attested.model_digest == plaintext.model_digest
    console.out.print(
        f"overhead {median(overheads):.2f}x, median of {repeat}; "
        f"models {'equal, bit for bit' if same else 'DIFFER'}"
    )
