"""`import coterie` is small, sorted, lazy, typed and documented; its docstring's code runs."""

from __future__ import annotations

import ast
import doctest
import inspect
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

import coterie
import coterie.api
from coterie.errors import ContractInvalid, ResultUnreadable, UsageError
from coterie.models.backend import configure_tensorflow
from coterie.runs.event_log import event_log
from coterie.runs.events import Resumed, StepDone, ValidationDone
from coterie.runs.result import RunResult
from coterie.runs.result_file import write_result
from tests.conftest import REPOSITORY
from tests.system.conftest import contract_text

PAGE = REPOSITORY / "docs" / "python.md"

SURFACE = [
    "Contract", "CoterieError", "Evaluation", "History", "KerasModelSection", "Metrics", "Predictions",
    "PrepareReport", "RunResult", "SynthesizeReport", "TrainedModel", "__version__",
    "continue_from", "describe_model", "evaluate", "export", "load_contract", "load_model", "local",
    "predict", "predict_frame", "prepare", "read_history", "read_result", "results_frame", "run",
    "synthesize",
]  # fmt: skip


def in_a_process(code: str) -> str:
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return run.stdout.strip()


def test_the_surface_is_exactly_this_and_sorted() -> None:
    assert coterie.__all__ == SURFACE == sorted(SURFACE)
    assert dir(coterie) == SURFACE


@pytest.mark.parametrize("name", [name for name in SURFACE if name != "__version__"])
def test_every_name_is_there_documented_and_typed(name: str) -> None:
    found = getattr(coterie, name)
    assert inspect.getdoc(found)
    if inspect.isfunction(found):
        signature = inspect.signature(found)
        assert signature.return_annotation is not inspect.Signature.empty
        for parameter in signature.parameters.values():
            assert parameter.annotation is not inspect.Parameter.empty
            if parameter.default is not inspect.Parameter.empty:
                assert parameter.kind is inspect.Parameter.KEYWORD_ONLY  # options have names
    assert f"`{name}" in PAGE.read_text(encoding="utf-8")


def test_other_names_are_no_attributes() -> None:
    with pytest.raises(AttributeError, match="no attribute 'train'"):
        coterie.train  # noqa: B018  # type: ignore[attr-defined]


def test_the_names_for_type_checkers_are_the_names_at_run_time() -> None:
    tree = ast.parse(Path(coterie.__file__).read_text(encoding="utf-8"))
    typed = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("coterie.")
        for alias in node.names
    }
    assert typed == set(SURFACE) - {"__version__"}


@pytest.mark.system
def test_importing_coterie_loads_nothing_else() -> None:
    code = (
        "import sys, coterie\n"
        "heavy = {'tensorflow', 'keras', 'polars', 'numpy', 'pydantic', 'grpc'}\n"
        "print(sorted(heavy & set(sys.modules)),\n"
        "      sorted(name for name in sys.modules if name.startswith('coterie')))"
    )
    # What gRPC and TensorFlow take from the environment has to be there before anything loads them.
    assert (
        in_a_process(code)
        == "[] ['coterie', 'coterie.grpc_settings', 'coterie.tensorflow_settings']"
    )


@pytest.mark.system
def test_only_what_computes_loads_tensorflow() -> None:
    code = (
        "import sys, coterie\n"
        "for name in coterie.__all__: getattr(coterie, name)\n"
        "print({'tensorflow', 'keras'} & set(sys.modules))"
    )
    assert in_a_process(code) == "set()"


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(coterie.__file__).parent / "py.typed").exists()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the file that the example names."""
    configure_tensorflow(1)
    (tmp_path / "contract.toml").write_text(contract_text("hfl"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.tensorflow
def test_the_docstrings_example_runs(folder: Path) -> None:
    assert folder == Path.cwd()
    seen = doctest.testmod(coterie.api, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert seen.attempted >= 9
    assert seen.failed == 0


RESULT = RunResult(
    mode="hfl", transport="memory", tee="none", nodes=3, steps=10, examples=640, seconds=1.5,
    samples_per_second=426.7, train_loss=0.5, validation_auc=None, test_auc=0.75,
    test_logloss=0.5, test_accuracy=0.8, test_calibration=1.0, model_digest="a" * 64, model_step=1,
    contract_digest="b" * 64,
)  # fmt: skip


def test_results_become_a_frame_of_plain_columns() -> None:
    frame = coterie.results_frame([RESULT, RESULT.model_copy(update={"steps": 20})])
    assert frame["steps"].to_list() == [10, 20]
    assert frame["validation_auc"].to_list() == [None, None]
    import polars as pl

    assert frame.schema["validation_auc"] == pl.Float64
    assert set(frame.schema.dtypes()) == {pl.String, pl.Int64, pl.Float64, pl.Datetime("us", "UTC")}
    assert {"mode", "model_digest", "test_auc"} <= set(frame.columns)
    assert not {"times", "absences"} & set(frame.columns)
    assert coterie.results_frame([]).schema == frame.schema


def test_a_frame_says_which_run_is_which(tmp_path: Path) -> None:
    at = datetime(2026, 3, 1, 12, tzinfo=UTC)
    named = {"name": "mine", "finished": at, "hyperparameters": {"training.batch": 64, "a": "x"}}
    write_result(tmp_path, RESULT.model_copy(update=named))
    other = RESULT.model_copy(update={"hyperparameters": {"training.batch": 0.5}})
    frame = coterie.results_frame([str(tmp_path), other])
    assert frame["path"].to_list() == [str(tmp_path), ""]
    assert frame["name"].to_list() == ["mine", ""]
    assert frame["finished"].to_list() == [at, None]
    assert frame["training.batch"].to_list() == [64, 0.5]
    assert frame["a"].to_list() == ["x", None]


def test_a_history_forgets_what_is_trained_again(tmp_path: Path) -> None:
    history = coterie.History()
    told = [
        *(StepDone(step, 9, 64, 1 / step, 0.1 * step, 0.5, 1, 64) for step in (1, 2, 3)),
        ValidationDone(3, 900, 0.7, 0.6, 1.0, best=True, train_loss=None),
        Resumed(1, "ab"),
        StepDone(2, 9, 64, 0.25, 0.3, None, 1, 64),
        ValidationDone(2, 900, None, 0.5, 1.0, best=True, train_loss=None),
        StepDone(3, 9, 64, None, 0.4),
    ]
    with event_log(tmp_path) as log:
        for event in told:
            history(event)
            log(event)
    assert [(one.step, one.loss, one.accuracy) for one in history.points] == [
        (1, 1.0, 0.5), (2, 0.25, None),
    ]  # fmt: skip
    assert history.to_frame().rows() == [
        (1, 64, 1.0, 0.5, None, None), (2, 64, 0.25, None, 0.5, None),
    ]  # fmt: skip
    read = coterie.read_history(tmp_path)
    assert (read.points, read.validations) == (history.points, history.validations)
    assert coterie.History().to_frame().height == 0


def test_a_folder_without_a_log_has_no_history(tmp_path: Path) -> None:
    with pytest.raises(coterie.CoterieError, match="no run that kept a log"):
        coterie.read_history(tmp_path)


@pytest.mark.parametrize(
    ("content", "remedy"),
    [
        (None, "that of the first server"),
        ("{}", "the version that made"),
        ("no JSON", "the version that made"),
    ],
)
def test_a_run_without_a_result_is_named(content: str | None, remedy: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "result.json").write_text(content)
    with pytest.raises(ResultUnreadable, match="cannot be read") as refusal:
        coterie.read_result(tmp_path)
    assert refusal.value.seen
    assert remedy in refusal.value.remedy


def test_a_contract_that_breaks_the_schema_is_named(tmp_path: Path) -> None:
    (tmp_path / "contract.toml").write_text("format = 1\n")
    with pytest.raises(ContractInvalid) as refusal:
        coterie.load_contract(tmp_path / "contract.toml")
    assert refusal.value.exit_code == 4
    assert isinstance(refusal.value, coterie.CoterieError)


@pytest.mark.parametrize(
    ("name", "words", "named", "what", "remedy"),
    [
        ("load_contract", (7,), {}, "path", "docs/python.md"),
        ("synthesize", ("x.tsv",), {"rows": 0, "seed": 1}, "rows", "docs/python.md"),
        ("synthesize", ("x.tsv",), {"rows": "10", "seed": 1}, "rows", "docs/python.md"),
        ("synthesize", ("x.tsv",), {"rows": True, "seed": 1}, "rows", "docs/python.md"),
        (
            "prepare",
            (
                "raw",
                "out",
                "c.toml",
            ),
            {},
            "contract",
            "load_contract('c.toml')",
        ),
        (
            "run",
            (
                "c.toml",
                "data",
                "out",
            ),
            {},
            "contract",
            "load_contract('c.toml')",
        ),
        (
            "local",
            (
                Path("c.toml"),
                "data",
            ),
            {},
            "contract",
            "load_contract('c.toml')",
        ),
        (
            "local",
            (
                None,
                "data",
            ),
            {},
            "contract",
            "load_contract(path)",
        ),
        ("continue_from", (RESULT,), {}, "run", "docs/python.md"),
        ("continue_from", ("run1",), {"contract": "c.toml"}, "contract", "load_contract('c.toml')"),
        ("continue_from", ("run1",), {"epochs": 0}, "epochs", "docs/python.md"),
        ("read_result", (RESULT,), {}, "run", "docs/python.md"),
        ("results_frame", ("run1",), {}, "results", "read_result('run1')"),
        ("results_frame", ([3],), {}, "an item of results", "read_result(path)"),
        ("load_model", (None,), {}, "path", "docs/python.md"),
        (
            "evaluate",
            (
                "run1",
                "data",
            ),
            {},
            "model",
            "load_model('run1')",
        ),
        (
            "predict",
            (
                "run1",
                "raw",
                "out.csv",
            ),
            {},
            "model",
            "load_model('run1')",
        ),
        (
            "predict_frame",
            (
                Path("run1"),
                "raw",
            ),
            {},
            "model",
            "load_model('run1')",
        ),
        (
            "export",
            (
                "run1",
                "out",
            ),
            {},
            "model",
            "load_model('run1')",
        ),
    ],
)
def test_an_argument_of_the_wrong_kind_is_named_with_what_gives_the_right_one(
    name: str,
    words: tuple[object, ...],
    named: dict[str, object],
    what: str,
    remedy: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as refusal:
        getattr(coterie, name)(*words, **named)
    assert refusal.value.what.startswith(f"{what} ")
    assert remedy in refusal.value.remedy
    assert list(tmp_path.iterdir()) == []


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    "options",
    [
        {"deal": "random"},
        {"party": 3},
        {"label": ""},
        {"label": None},
        {"dialect": "csv"},
        {"missing": "NA"},
        {"missing": [None]},
        {"columns": ["a"]},
        {"max_bad_rows": -1},
        {"max_bad_rows": 0.5},
    ],
)
def test_an_option_of_the_wrong_kind_is_named(options: dict[str, object], folder: Path) -> None:
    contract = coterie.load_contract("contract.toml")
    (name,) = options
    with pytest.raises(UsageError, match=name):
        coterie.prepare("raw.tsv", "out", contract, **options)  # type: ignore[arg-type]
    assert not (folder / "out").exists()
