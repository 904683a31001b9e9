"""``coterie demo``: both schemes on synthetic data, and what joining is worth."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer
from rich.table import Table

from coterie.cli import console
from coterie.cli.drafting import demonstration, draft_contract
from coterie.cli.options import AsJson
from coterie.cli.report import leave_report, leave_run_report, watched
from coterie.errors import OutputInUse
from coterie.files import LOCK, only_writer, write_whole, writing
from coterie.kinds import Mode

if TYPE_CHECKING:
    from coterie.contract import Contract
    from coterie.runs.comparison_file import Comparison
    from coterie.runs.result import RunResult

_MARK = ".coterie-demo"
_SEED = 2022


def demo(
    *,
    out: Annotated[Path, typer.Option("--out", help="The folder; replaced each time.")] = Path(
        "demo"
    ),
    rows: Annotated[int, typer.Option(min=1000, help="Synthetic examples.")] = 60_000,
    as_json: AsJson = False,
) -> None:
    """Train HFL (server and four companies) and SDT (chief, server, two workers), attested.

    Data are synthetic and the TEE is simulated: this shows how Coterie works, and protects nothing.

    Example: coterie demo
    """
    with _made_anew(out):
        _show(out, rows, as_json=as_json)


def _show(out: Path, rows: int, *, as_json: bool) -> None:
    from coterie.data.prepare.preparation import prepare
    from coterie.data.prepare.synthetic import synthesize
    from coterie.nodes.launch import run_in_process, run_processes
    from coterie.runs.comparison_file import Comparison

    hfl, sdt = (_contract(out, mode) for mode in get_args(Mode))
    told = console.err if as_json else console.out
    say = told.print
    say(f"[bold]1[/] {rows:,} synthetic examples in Criteo's format, dealt to the companies")
    synthesize(out / "raw.tsv", rows=rows, seed=_SEED)
    prepare(out / "raw.tsv", out / "data-hfl", hfl, deal="round-robin")
    prepare(out / "raw.tsv", out / "data-sdt", sdt)

    say("[bold]2[/] HFL: a parameter server and four companies, attested  SIMULATED")
    with watched(told, hfl, "SIMULATED", title="hfl") as on_event:
        joint = run_processes(hfl, out / "data-hfl", out / "run-hfl", on_event)
    say("[bold]3[/] the same in one process; each company alone; all data in one place")
    reference = run_in_process(
        hfl, out / "data-hfl", lambda _: None, out=out / "run-local", compare=True
    )
    worth = Comparison.read(out / "run-local")
    say("[bold]4[/] SDT: a chief, a parameter server and two workers, attested  SIMULATED")
    with watched(told, sdt, "SIMULATED", title="sdt") as on_event:
        rented = run_processes(sdt, out / "data-sdt", out / "run-sdt", on_event)

    same = joint.model_digest == reference.model_digest
    if not as_json:
        _print(
            summary_table(hfl, joint, sdt, rented), worth, out, joint.model_digest if same else ""
        )
    for folder in ("run-hfl", "run-local", "run-sdt"):
        leave_run_report(out / folder)
    leave_report(lambda: _report(out, worth))
    say(f"SIMULATED: the TEE proves nothing here. Everything is in {out}/")
    if as_json:
        console.print_json(
            {
                "hfl": joint.model_dump(mode="json"),
                "sdt": rented.model_dump(mode="json"),
                "same_model": same,
                "directory": str(out),
            }
        )
    if not same:
        raise typer.Exit(1)


def _print(summary: Table, worth: Comparison | None, out: Path, same_digest: str) -> None:
    say = console.out.print
    say("\nTwo attested runs  [bold]SIMULATED[/]")
    console.print_table(summary)
    if worth is not None:
        say(
            f"\nWhat joining is worth: AUC on the same {worth.test_examples:,} test rows, 95 % intervals"
        )
        console.print_table(worth_table(worth))
    say(
        "HFL, attested and in one process: models "
        + (f"equal, bit for bit ({same_digest[:16]})" if same_digest else "DIFFER")
    )
    for run in ("run-hfl", "run-sdt"):
        receipt = f"{out}/{run}/receipt.jsonl"
        say(f"Receipt: {receipt}; check it with: coterie receipt verify {receipt}", soft_wrap=True)


def _contract(out: Path, mode: Mode) -> Contract:
    from coterie.contract import load_contract

    path = out / f"{mode}.toml"
    with writing(path):
        write_whole(path, draft_contract(demonstration(mode)).encode())
    return load_contract(path)


def _report(out: Path, worth: Comparison | None) -> Path:
    from coterie.report.record import read_run
    from coterie.report.writing import report_demo

    runs = (read_run(out / "run-hfl", "HFL"), read_run(out / "run-sdt", "SDT"))
    return report_demo(out, runs, worth)


@contextmanager
def _made_anew(out: Path) -> Iterator[None]:
    """Makes the demo's folder, in place of an earlier demo's, and locks it."""
    _require_own(out)
    with only_writer(out):
        _require_own(out)
        with writing(f"the folder {out}"):
            for entry in out.iterdir():
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                elif entry.name not in (LOCK, _MARK):
                    entry.unlink()
            (out / _MARK).touch()
        yield


def _require_own(out: Path) -> None:
    if not out.exists():
        return
    names = {entry.name for entry in out.iterdir()} if out.is_dir() else {out.name}
    if _MARK not in names and names != {LOCK}:
        raise OutputInUse(
            f"{out} exists and is no demo's folder",
            expected="no such folder, or one that a demo made",
            seen=str(out),
        )


def summary_table(hfl: Contract, joint: RunResult, sdt: Contract, rented: RunResult) -> Table:
    """Both runs side by side."""
    table = Table()
    table.add_column("")
    for name in (hfl.name, sdt.name):
        table.add_column(name, justify="right")
    rows = (
        ("nodes", "nodes", ",d"),
        ("steps", "steps", ",d"),
        ("examples", "examples", ",d"),
        ("seconds of training", "seconds", ",.1f"),
        ("examples per second", "samples_per_second", ",.0f"),
        ("training loss", "train_loss", ".4f"),
        ("test AUC", "test_auc", ".4f"),
        ("test log loss", "test_logloss", ".4f"),
        ("test accuracy", "test_accuracy", ".4f"),
    )
    for label, key, form in rows:
        values = [getattr(result, key) for result in (joint, rented)]
        table.add_row(label, *("-" if value is None else format(value, form) for value in values))
    table.add_row("model digest", joint.model_digest[:16], rented.model_digest[:16])
    return table


def worth_table(comparison: Comparison) -> Table:
    """Every model, and the joint model's gain over it."""
    table = Table()
    table.add_column("model")
    for name in ("trained on", "test AUC", "joining gains"):
        table.add_column(name, justify="right")
    for model in comparison.models:
        row = [
            f"[bold]{model.name}" if model.kind == "joint" else model.name,
            f"{model.examples or 0:,}",
            f"{model.auc:.4f} ±{(model.auc_high - model.auc_low) / 2:.4f}",
        ]
        if model.gain is not None and model.gain_high is not None:
            row.append(f"{model.gain:+z.4f} ±{model.gain_high - model.gain:.4f}")
        table.add_row(*row)
    return table
