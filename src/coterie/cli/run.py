"""``coterie run``, ``local`` and ``bench``: whole runs on this machine."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from coterie.cli import console
from coterie.cli.continuing import (
    Continue,
    Epochs,
    MaybeContract,
    NewOptimizerState,
    Start,
    contract_to_run,
)
from coterie.cli.options import AsJson, ContractFile, TensorBoard
from coterie.cli.report import (
    attested_stamp,
    leave_run_report,
    watched,
)

if TYPE_CHECKING:
    from coterie.contract import Contract
    from coterie.runs.result import RunResult


DataFolder = Annotated[
    Path, typer.Option("--data", help="What `coterie prepare` wrote: one folder per party.")
]


def run(
    contract_file: MaybeContract = None,
    *,
    data: DataFolder,
    out: Annotated[Path, typer.Option("--out", help="The run's directory, new or to resume.")],
    compare_alone: Annotated[
        bool,
        typer.Option(
            "--compare-alone",
            help="HFL: every company's node also trains on its own data alone, and reports only to its own host what joining was worth.",
        ),
    ] = False,
    continue_: Continue = None,
    epochs: Epochs = None,
    new_optimizer_state: NewOptimizerState = False,
    start: Start = None,
    tensorboard: TensorBoard = None,
    as_json: AsJson = False,
) -> None:
    """Train: every node of the contract as an attested process on this machine.

    Example: coterie run examples/hfl.toml --data prepared --out run1
    """
    from coterie.nodes.launch import run_processes

    contract, folder = contract_to_run(
        contract_file,
        continue_,
        epochs=epochs,
        new_optimizer_state=new_optimizer_state,
        start=start,
    )
    stamp = attested_stamp(contract)
    with watched(console.err, contract, stamp, tensorboard=tensorboard, out=out) as on_event:
        result = run_processes(
            contract, data, out, on_event, compare_alone=compare_alone, start=folder
        )
    leave_run_report(out)
    if as_json:
        console.print_json(result.model_dump(mode="json"))
    else:
        console.print_result(result, contract.name)


def local(
    contract_file: MaybeContract = None,
    *,
    data: DataFolder,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="The run's directory, new or to resume: gets the result, its report and the trained model.",
        ),
    ] = None,
    compare: Annotated[
        bool,
        typer.Option(
            help="With --out, HFL: also train every company alone and all data in one place. Reads "
            "all parties' rows: for public or synthetic data.",
        ),
    ] = True,
    continue_: Continue = None,
    epochs: Epochs = None,
    new_optimizer_state: NewOptimizerState = False,
    start: Start = None,
    tensorboard: TensorBoard = None,
    as_json: AsJson = False,
) -> None:
    """Train the same in one process, without attestation: the reference for every run.

    Example: coterie local examples/hfl.toml --data prepared --out local1
    """
    from coterie.nodes.launch import run_in_process

    contract, folder = contract_to_run(
        contract_file,
        continue_,
        epochs=epochs,
        new_optimizer_state=new_optimizer_state,
        start=start,
    )
    with watched(console.err, contract, "LOCAL", tensorboard=tensorboard, out=out) as on_event:
        result = run_in_process(
            contract,
            data,
            on_event,
            out=out,
            compare=compare and out is not None and contract.mode == "hfl",
            start=folder,
        )
    if out is not None:
        leave_run_report(out)
    if as_json:
        console.print_json(result.model_dump(mode="json"))
    else:
        console.print_result(result, contract.name)


def bench(
    contract_file: ContractFile,
    data: DataFolder,
    repeat: Annotated[int, typer.Option(min=1, max=100, help="Alternating pairs.")] = 1,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="New directory for the runs, bench.json and the report."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train attested and in plaintext in turn; print both and the ratio of their training times.

    Example: coterie bench examples/sdt.toml --data prepared --repeat 5 --out bench1 --json
    """
    from coterie.contract import load_contract
    from coterie.files import write_whole, writing
    from coterie.runs.directory import new_directory

    contract = load_contract(contract_file)
    with ExitStack() as stack:
        if out is None:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="coterie-bench-")))
        else:
            folder = out
            stack.enter_context(new_directory(out))
        pairs = _pairs(contract, data, folder, repeat)
        attested, plaintext = pairs[-1]
        overheads = [one.seconds / other.seconds for one, other in pairs]
        same = attested.model_digest == plaintext.model_digest
        summary = {
            "attested": attested.model_dump(mode="json"),
            "plaintext": plaintext.model_dump(mode="json"),
            "overhead": median(overheads),
            "overheads": overheads,
            "same_model": same,
        }
        if out is not None:
            with writing(out / "bench.json"):
                write_whole(out / "bench.json", json.dumps(summary, indent=2).encode() + b"\n")
    if out is not None:
        leave_run_report(out)
    if as_json:
        console.print_json(summary)
        return
    console.print_result(attested, f"{contract.name}, attested")
    console.print_result(plaintext, f"{contract.name}, plaintext")
    console.out.print(
        f"overhead {median(overheads):.2f}x, median of {repeat}; "
        f"models {'equal, bit for bit' if same else 'DIFFER'}"
    )


def _pairs(
    contract: Contract, data: Path, folder: Path, repeat: int
) -> list[tuple[RunResult, RunResult]]:
    from coterie.nodes.launch import run_processes

    plaintext_node = (sys.executable, "-m", "coterie.plaintext")
    stamp, name = attested_stamp(contract), contract.name
    pairs: list[tuple[RunResult, RunResult]] = []
    for i in range(repeat):
        with watched(console.err, contract, stamp, title=f"{name} attested") as on_event:
            attested = run_processes(contract, data, folder / f"attested-{i}", on_event)
        with watched(console.err, contract, "PLAINTEXT", title=f"{name} PLAINTEXT") as on_event:
            plaintext = run_processes(
                contract,
                data,
                folder / f"plaintext-{i}",
                on_event,
                transport="PLAINTEXT",
                command=plaintext_node,
            )
        pairs.append((attested, plaintext))
    return pairs
