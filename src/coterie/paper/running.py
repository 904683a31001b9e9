"""Runs the experiment on this machine: prepares the data, then every case natively and attested in turn."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path

from coterie import __version__
from coterie.contract import Contract
from coterie.data.prepare.synthetic import synthesize
from coterie.errors import EnvironmentUnfit
from coterie.files import make_folder, writing
from coterie.nodes.launch import run_processes
from coterie.paper.outputs import curve_of, quality_of, seconds_of, thinned
from coterie.paper.plan import (
    HASH_SEED,
    PAPER_ROWS,
    SETTINGS,
    Case,
    arguments_of,
    cases,
    contract_of,
    program_of,
    steps_of,
)
from coterie.paper.preparing import PreparedData, count_rows
from coterie.paper.results import CaseResult, Measured, PaperResults, Quality
from coterie.plaintext.cluster import run_plain_cluster
from coterie.runs.directory import new_directory
from coterie.runs.events import Event
from coterie.runs.history import History
from coterie.tensorflow.digests import read_program
from coterie.tensorflow.examples import describe
from coterie.tensorflow.local import run_cluster
from coterie.tensorflow.native import load

SYNTHETIC_ROWS = 60_000
_CHECKOUT = Path(__file__).parents[3] / "examples" / "tensorflow"


def run_paper(
    data: Path | None,
    out: Path,
    *,
    rows: int | None = None,
    epochs: int = 1,
    turns: int = 1,
    selected: Sequence[Case] = cases(),
    say: Callable[[str], None],
) -> PaperResults:
    """Runs the experiment and writes ``paper.json``.

    Args:
        data: A raw file in Criteo's format; None: synthetic rows.
        out: A new or empty directory.
        rows: Rows of the file that are used at most; by default one tenth of Criteo Kaggle's.
        epochs: Passes over the data.
        turns: How often each case runs in each environment.
        selected: The cases.
        say: Hears what is done, line by line.

    Raises:
        OutputInUse: ``out`` is not empty.
        RawDataInvalid: The raw file is not in the format.
        EnvironmentUnfit: Something that the runs need is missing here.
        CoterieError: A run failed; no process is left, and ``out`` has no ``paper.json``.
    """
    began = time.monotonic()
    with new_directory(out):
        load()
        for case in selected:
            program_file(program_of(case))
        limit = rows or (SYNTHETIC_ROWS if data is None else PAPER_ROWS)
        limit = limit if data is None else count_rows(data, limit)
        raw = data
        if raw is None:
            raw = out / "raw.tsv"
            say(f"making {limit:,} synthetic rows")
            synthesize(raw, rows=limit, seed=HASH_SEED)
        prepared = PreparedData(raw, limit, out / "data", say)
        for case in selected:
            prepared.add(case)
        runs = _Runs(prepared, out / "runs", epochs, say)
        found = tuple(runs.run(case, turns) for case in selected)
        results = PaperResults(
            version=__version__,
            finished=datetime.now(UTC),
            machine=machine(),
            data=prepared.used(selected[0], synthetic=data is None),
            table_rows=prepared.tables,
            epochs=epochs,
            turns=turns,
            seconds=time.monotonic() - began,
            cases=found,
        )
        results.write(out)
        return results


def program_file(name: str) -> Path:
    """A program of TensorFlow's engine.

    Raises:
        EnvironmentUnfit: It is not installed.
    """
    # The wheel puts them into share/coterie, beside the package, whose digest is measured.
    installed = [file for one in distributions(name="coterie") for file in one.files or []]
    places = [_CHECKOUT / name]
    places += [Path(str(one.locate())) for one in installed if one.match(f"share/coterie/{name}")]
    for place in places:
        if place.is_file():
            return place
    raise EnvironmentUnfit(
        f"the program {name} is not installed",
        expected=f"share/coterie/{name} of the wheel, or a checkout",
        seen="no such file",
        remedy="install the wheel again, or run from a checkout",
    )


def machine() -> dict[str, str]:
    """What the runs ran on."""
    import tensorflow as tf

    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "TensorFlow": str(tf.__version__),
        "Python": platform.python_version(),
    }


class _Runs:
    """Runs cases on prepared data.

    Args:
        data: The data.
        out: Gets the runs' folders.
        epochs: Passes over the data.
        say: Hears what is done.
    """

    def __init__(
        self, data: PreparedData, out: Path, epochs: int, say: Callable[[str], None]
    ) -> None:
        self._data, self._out, self._epochs, self._say = data, out, epochs, say

    def run(self, case: Case, turns: int) -> CaseResult:
        """Runs a case natively and attested, in turn."""
        native: list[Measured] = []
        simulated: list[Measured] = []
        for turn in range(turns):
            for found, environment in ((native, "native"), (simulated, "simulated")):
                self._say(f"{case.scheme.upper()}, {case.setting}: {case.label}; {environment}")
                folder = self._out / f"{case.name}-{environment}-{turn}"
                attested = environment == "simulated"
                if case.engine == "coterie":
                    found.append(self._run_coterie(case, folder, attested=attested))
                else:
                    found.append(self._run_tensorflow(case, folder, attested=attested))
        return CaseResult(
            scheme=case.scheme,
            setting=case.setting,
            engine=case.engine,
            synchronous=case.synchronous,
            steps=steps_of(case, self._data.examples(case), self._epochs),
            native=_together(native),
            simulated=_together(simulated),
        )

    def _run_coterie(self, case: Case, folder: Path, *, attested: bool) -> Measured:
        contract, data = self._contract(case), self._data.folder(case)

        def ignore(_event: Event) -> None:
            pass

        if attested:
            result = run_processes(contract, data, folder, ignore)
        else:
            plaintext = (sys.executable, "-m", "coterie.plaintext")
            result = run_processes(
                contract, data, folder, ignore, transport="PLAINTEXT", command=plaintext
            )
        share = self._epochs * self._data.examples(case) / max(1, result.steps)
        curve = [
            replace(point, step=round(point.step * share)) for point in History.read(folder).points
        ]
        return Measured(
            seconds=(result.seconds,),
            curve=thinned(curve),
            quality=Quality(
                auc=result.test_auc,
                auc_low=result.test_auc_low,
                auc_high=result.test_auc_high,
                log_loss=result.test_logloss,
                accuracy=result.test_accuracy,
            ),
            model_digest=result.model_digest,
        )

    def _run_tensorflow(self, case: Case, folder: Path, *, attested: bool) -> Measured:
        contract, program = self._contract(case), program_file(program_of(case))
        scores = folder.with_name(f"{folder.name}-scores")
        with writing(scores):
            make_folder(scores)
        arguments = arguments_of(
            case, self._data.examples(case), self._epochs, str(scores.resolve())
        )
        printed: dict[str, list[str]] = {}

        def heard(node: str, line: str) -> None:
            printed.setdefault(node, []).append(line)

        if attested:
            run_cluster(
                contract,
                read_program(program),
                arguments,
                folder,
                data=self._data.folder(case),
                say=lambda _: None,
                printed=heard,
            )
        else:
            values = {}
            for owner in contract.data_owners():
                files = self._data.records(case, owner.party).items()
                values[owner.party] = describe({k: str(v) for k, v in files}, contract.data)
            run_plain_cluster(contract, program, arguments, folder, printed=heard, data=values)
        together = 1 if case.scheme == "hfl" else case.workers  # an SDT chief prints for all
        return Measured(
            seconds=(seconds_of(printed),),
            curve=curve_of(printed, together * SETTINGS[case.setting].batch),
            quality=quality_of(scores),
        )

    def _contract(self, case: Case) -> Contract:
        return contract_of(
            case,
            rows=self._data.rows,
            tables=self._data.tables,
            examples=self._data.examples(case),
            epochs=self._epochs,
        )


def _together(turns: Sequence[Measured]) -> Measured:
    """The last turn, with the times of all."""
    seconds = tuple(second for one in turns for second in one.seconds)
    return turns[-1].model_copy(update={"seconds": seconds})
