"""The functions of ``import coterie``: the commands of the command line.

From raw data to a scored file, in one process (see :func:`run` for attested runs)::

    >>> import coterie
    >>> coterie.synthesize("raw.tsv", rows=3000, seed=1).rows
    3000
    >>> contract = coterie.load_contract("contract.toml")
    >>> report = coterie.prepare("raw.tsv", "data", contract)
    >>> [manifest.party for manifest in report.manifests]
    ['acme', 'bolt']
    >>> result = coterie.local(contract, "data", out="run")
    >>> result == coterie.read_result("run")
    True
    >>> model = coterie.load_model("run")
    >>> coterie.evaluate(model, "data").parts["test"].auc == result.test_auc
    True
    >>> coterie.predict(model, "raw.tsv", "scores.parquet").rows
    3000
    >>> coterie.results_frame([result]).select("mode", "steps", "examples")
    shape: (1, 3)
    ┌──────┬───────┬──────────┐
    │ mode ┆ steps ┆ examples │
    │ ---  ┆ ---   ┆ ---      │
    │ str  ┆ i64   ┆ i64      │
    ╞══════╪═══════╪══════════╡
    │ hfl  ┆ 21    ┆ 2572     │
    └──────┴───────┴──────────┘

Every function raises a subclass of :class:`coterie.CoterieError`, and nothing else, for what a user
can mend. TensorFlow is loaded by those that need it, with Coterie's settings: one number of threads
per process.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, get_args, overload

from coterie import arguments
from coterie.contract import Contract, KerasModelSection
from coterie.contract import load_contract as _load_contract
from coterie.data.prepare.dialect import DialectName
from coterie.data.prepare.layout import Layout
from coterie.data.split import Deal
from coterie.runs.events import Event
from coterie.runs.history import History
from coterie.runs.result import RunResult
from coterie.trained.trained_model import TrainedModel

if TYPE_CHECKING:
    import keras
    import polars as pl

    from coterie.data.prepare.preparation import PrepareReport
    from coterie.data.prepare.synthetic import SynthesizeReport
    from coterie.serving.evaluation import Evaluation
    from coterie.serving.export import Format
    from coterie.serving.prediction import Predictions

StrPath = str | os.PathLike[str]
AnyFrame = TypeVar("AnyFrame")


def _silent(_event: Event) -> None:
    pass


def load_contract(path: StrPath) -> Contract:
    """Reads and checks a contract.

    Args:
        path: A TOML file, or a ``.json`` file in the canonical form.

    Raises:
        ContractInvalid: The file cannot be read or breaks the schema; the keys are named.
    """
    return _load_contract(arguments.path_of(path, "path"))


def synthesize(out: StrPath, *, rows: int, seed: int) -> SynthesizeReport:
    """Writes a raw file of Criteo's shape with a planted signal, to try things with.

    Args:
        out: A new file; ``.gz``, ``.xz`` and ``.zst`` are compressed.
        rows: How many rows.
        seed: The same seed and rows give the same file.

    Raises:
        OutputInUse: The file exists.
        EnvironmentUnfit: It cannot be written.
    """
    target = arguments.path_of(out, "out")
    rows, seed = arguments.number_of(rows, "rows", 1), arguments.number_of(seed, "seed", 0)
    from coterie.data.prepare import synthetic

    return synthetic.synthesize(target, rows=rows, seed=seed)


def prepare(
    raw: StrPath,
    out: StrPath,
    contract: Contract,
    *,
    deal: Deal = "contiguous",
    party: str | None = None,
    label: str = "label",
    dialect: DialectName = "strict",
    missing: Iterable[str] = (),
    columns: Mapping[str, str] = {},
    max_bad_rows: int = 0,
) -> PrepareReport:
    """Prepares the data sets of all data owners, or of one party from its own file.

    Args:
        raw: In Criteo's format, or with a header that names the label and the contract's columns,
            separated by tabs or commas; plain, gzip, xz or Zstandard.
        out: Gets one folder per party.
        contract: Columns, table sizes, hashing, and who owns data.
        deal: How rows are dealt to several parties.
        party: ``raw`` is this party's own file.
        label: The label's name in the header.
        dialect: How cells are written: ``strict``, or ``table`` as spreadsheets and data frames do.
        missing: More words for missing cells.
        columns: The header's names of the contract's columns, where they are others.
        max_bad_rows: So many bad rows are skipped and reported.

    Raises:
        RawDataInvalid: Rows are not in the format; the lines are named.
        OutputInUse: A party's folder is not empty.
    """
    contract = arguments.instance_of(contract, Contract, "contract")
    source, target = arguments.path_of(raw, "raw"), arguments.path_of(out, "out")
    from coterie.data.prepare import preparation

    return preparation.prepare(
        source,
        target,
        contract,
        deal=arguments.choice_of(deal, get_args(Deal), "deal"),
        party=None if party is None else arguments.text_of(party, "party"),
        layout=_layout(label, dialect, missing, columns),
        max_bad_rows=arguments.number_of(max_bad_rows, "max_bad_rows", 0),
    )


def run(
    contract: Contract,
    data: StrPath,
    out: StrPath,
    *,
    start: StrPath | None = None,
    on_event: Callable[[Event], None] = _silent,
) -> RunResult:
    """Trains, with every node of the contract as an attested process on this machine.

    Args:
        contract: What is trained, by whom.
        data: What ``prepare`` wrote: one folder per party.
        out: The run's directory, new or to be resumed.
        start: Where what the contract's ``[start]`` names lies; see :func:`continue_from`.
        on_event: Hears what happens.

    Raises:
        CoterieError: The run failed; no process is left.
    """
    contract = arguments.instance_of(contract, Contract, "contract")
    source, target = arguments.path_of(data, "data"), arguments.path_of(out, "out")
    arguments.function_of(on_event, "on_event")
    from coterie.nodes.launch import run_processes

    folder = None if start is None else arguments.path_of(start, "start")
    result = run_processes(contract, source, target, on_event, start=folder)
    return result.model_copy(update={"path": str(target)})


def local(
    contract: Contract,
    data: StrPath,
    *,
    out: StrPath | None = None,
    start: StrPath | None = None,
    on_event: Callable[[Event], None] = _silent,
) -> RunResult:
    """Trains the same in this process, without attestation: the same model, bit for bit.

    Args:
        contract: What is trained, by whom.
        data: What ``prepare`` wrote.
        out: The run's directory, new or to resume: gets the result and the trained model; nothing is
            kept without it.
        start: Where what the contract's ``[start]`` names lies; see :func:`continue_from`.
        on_event: Hears what happens.

    Raises:
        CoterieError: The run failed.
    """
    contract = arguments.instance_of(contract, Contract, "contract")
    source = arguments.path_of(data, "data")
    target = None if out is None else arguments.path_of(out, "out")
    arguments.function_of(on_event, "on_event")
    from coterie.nodes.launch import run_in_process

    folder = None if start is None else arguments.path_of(start, "start")
    result = run_in_process(contract, source, on_event, out=target, start=folder)
    return result.model_copy(update={"path": "" if target is None else str(target)})


def continue_from(
    run: StrPath,
    *,
    contract: Contract | None = None,
    epochs: int | None = None,
    new_optimizer_state: bool = False,
) -> Contract:
    """The contract of a run that starts from a finished run's model, for ``run`` or ``local``.

    ``coterie.local(coterie.continue_from("run1"), "data", out="run2", start="run1")`` trains on.

    Args:
        run: The run's directory.
        contract: The new run's contract, which may have more columns or larger tables; by default
            the run's own.
        epochs: Passes over the data, in place of the contract's.
        new_optimizer_state: Whether the optimizers' state starts again, as another optimizer needs.

    Raises:
        ResultUnreadable: The run has not finished.
        StartRefused: Its model does not fit the contract, or it left no optimizer state.
    """
    folder = arguments.path_of(run, "run")
    if contract is not None:
        contract = arguments.instance_of(contract, Contract, "contract")
    if epochs is not None:
        epochs = arguments.number_of(epochs, "epochs", 1)
    from coterie.nodes.continuing import continued_run

    return continued_run(folder, contract, epochs=epochs, new_optimizer_state=new_optimizer_state)


def read_result(run: StrPath) -> RunResult:
    """Reads the result of a finished run; its ``path`` is the directory.

    Args:
        run: The run's directory.

    Raises:
        ResultUnreadable: The run has not finished, or its result is of another version.
    """
    folder = arguments.path_of(run, "run")
    from coterie.runs import result_file

    return result_file.read_result(folder)


def read_history(run: StrPath) -> History:
    """Reads the curves that a run reported during training.

    Args:
        run: The directory of a run, finished or not.

    Raises:
        DataError: The directory holds no run.
    """
    return History.read(arguments.path_of(run, "run"))


def results_frame(results: Iterable[RunResult | StrPath]) -> pl.DataFrame:
    """Results as a table, a row each, with the names of ``RunResult``.

    Args:
        results: Of any runs, or the directories of finished ones.

    Returns:
        A frame of ``name``, ``path`` and ``finished``, of the fields that every result has and that hold
        one number or text, and of all hyperparameters by their dotted names, null where a run has none.

    Raises:
        ResultUnreadable: A directory holds no result of this version.
    """
    if isinstance(results, str | os.PathLike | RunResult):
        results = [arguments.instance_of(results, RunResult, "results")]
    read = [
        read_result(one)
        if isinstance(one, str | os.PathLike)
        else arguments.instance_of(one, RunResult, "an item of results")
        for one in results
    ]
    import polars as pl

    kinds: dict[object, type[pl.DataType]] = {int: pl.Int64, float: pl.Float64}
    kinds[float | None] = pl.Float64
    schema: dict[str, pl.DataType | type[pl.DataType]] = {
        "name": pl.String,
        "path": pl.String,
        "finished": pl.Datetime("us", "UTC"),
    }
    for name, field in RunResult.model_fields.items():
        if field.is_required():
            schema[name] = kinds.get(field.annotation, pl.String)
    rows = [{name: getattr(result, name) for name in schema} for result in read]
    names = dict.fromkeys(name for result in read for name in result.hyperparameters)
    more = {name: [result.hyperparameters.get(name) for result in read] for name in names}
    columns = [pl.Series(name, values, strict=False) for name, values in more.items()]
    return pl.DataFrame(rows, schema=schema).with_columns(columns)


def load_model(path: StrPath) -> TrainedModel:
    """Reads a trained model, and checks every byte of it.

    Args:
        path: A ``model.coterie``, or the directory of the run that left it.

    Raises:
        ModelDamaged: There is none, or any byte was altered.
    """
    file = arguments.path_of(path, "path")
    from coterie.serving.opening import open_model

    return open_model(file)


def evaluate(
    model: TrainedModel,
    data: StrPath,
    *,
    label: str = "label",
    dialect: DialectName = "strict",
    missing: Iterable[str] = (),
    columns: Mapping[str, str] = {},
    max_bad_rows: int = 0,
) -> Evaluation:
    """Measures a model on prepared data sets, or on a raw file with labels.

    Args:
        model: The model.
        data: What ``prepare`` wrote, whole or one party's folder; or a raw file.
        label: The label's name in a raw file's header.
        dialect: How a raw file's cells are written, as for ``prepare``.
        missing: More words for missing cells.
        columns: The header's names of the contract's columns, where they are others.
        max_bad_rows: So many bad rows of a raw file are skipped.

    Raises:
        DataError: The data are not this contract's, damaged or not in the format.
    """
    model = arguments.instance_of(model, TrainedModel, "model")
    source = arguments.path_of(data, "data")
    layout = _layout(label, dialect, missing, columns)
    skipped = arguments.number_of(max_bad_rows, "max_bad_rows", 0)
    from coterie.serving import evaluation

    return evaluation.evaluate(model, source, layout=layout, max_bad_rows=skipped)


def predict(
    model: TrainedModel,
    raw: StrPath,
    out: StrPath,
    *,
    label: str = "label",
    dialect: DialectName = "strict",
    missing: Iterable[str] = (),
    columns: Mapping[str, str] = {},
    keep: Iterable[str] = (),
    max_bad_rows: int = 0,
) -> Predictions:
    """Scores every row of a raw file, in bounded memory.

    Args:
        model: The model.
        raw: Rows in the contract's columns, with or without a label.
        out: A new ``.csv`` or ``.parquet`` file of the columns ``line``, those to keep, and ``probability``.
        label: The label's name in the header, where there is one.
        dialect: How a file's cells are written, as for ``prepare``.
        missing: More words for missing cells.
        columns: The header's names of the contract's columns, where they are others.
        keep: Columns of ``raw`` that the result shall have too, as text, by their names in ``raw``.
        max_bad_rows: So many bad rows are skipped.

    Raises:
        OutputInUse: ``out`` exists, or has another suffix.
        RawDataInvalid: The raw file has bad rows or is damaged.
    """
    model = arguments.instance_of(model, TrainedModel, "model")
    source, target = arguments.path_of(raw, "raw"), arguments.path_of(out, "out")
    layout = _layout(label, dialect, missing, columns, arguments.texts_of(keep, "keep"))
    skipped = arguments.number_of(max_bad_rows, "max_bad_rows", 0)
    from coterie.serving import prediction

    return prediction.predict(model, source, target, layout=layout, max_bad_rows=skipped)


@overload
def predict_frame(
    model: TrainedModel,
    raw: StrPath,
    *,
    label: str = ...,
    dialect: DialectName = ...,
    missing: Iterable[str] = ...,
    columns: Mapping[str, str] = ...,
    keep: Iterable[str] = ...,
    max_bad_rows: int = ...,
) -> pl.DataFrame: ...
@overload
def predict_frame(
    model: TrainedModel,
    raw: AnyFrame,
    *,
    label: str = ...,
    dialect: DialectName = ...,
    missing: Iterable[str] = ...,
    columns: Mapping[str, str] = ...,
    keep: Iterable[str] = ...,
    max_bad_rows: int = ...,
) -> AnyFrame: ...
def predict_frame(
    model: TrainedModel,
    raw: object,
    *,
    label: str = "label",
    dialect: DialectName = "strict",
    missing: Iterable[str] = (),
    columns: Mapping[str, str] = {},
    keep: Iterable[str] = (),
    max_bad_rows: int = 0,
) -> object:
    """Scores every row of a data frame, or of a raw file, in memory.

    Args:
        model: The model.
        raw: Rows in the contract's columns, with or without a label: a frame of polars or pandas, or a raw file.
        label: The label's name in the header, where there is one.
        dialect: How a file's cells are written, as for ``prepare``; a frame's are read as ``table``.
        missing: More words for missing cells.
        columns: The header's names of the contract's columns, where they are others.
        keep: Columns of ``raw`` that the result shall have too, as text, by their names in ``raw``.
        max_bad_rows: So many bad rows are skipped.

    Returns:
        A frame of ``row`` (of a frame, from 0) or ``line`` (of a file, from 1), the columns to keep, and
        ``probability``: of pandas, with the index of ``raw``, where ``raw`` is of pandas, else of polars.

    Raises:
        RawDataInvalid: There are bad rows, or a column is missing.
    """
    model = arguments.instance_of(model, TrainedModel, "model")
    layout = _layout(label, dialect, missing, columns, arguments.texts_of(keep, "keep"))
    skipped = arguments.number_of(max_bad_rows, "max_bad_rows", 0)
    from coterie.serving import frames, prediction

    if frames.is_frame(raw):
        return frames.predict(model, raw, layout, skipped)
    if not isinstance(raw, str | os.PathLike):
        frame = "a frame of polars or pandas, or the path of a raw file"
        raise arguments.wrong(
            "raw",
            raw,
            frame,
            "collect a lazy frame; polars.DataFrame(...) makes a frame of a dict or of rows",
        )
    source = arguments.path_of(raw, "raw")
    return prediction.predict_frame(model, source, layout=layout, max_bad_rows=skipped)


def export(model: TrainedModel, out: StrPath, *, format: Format = "saved_model") -> Path:  # noqa: A002
    """Exports a model for serving: it takes raw cells and gives probabilities.

    Args:
        model: The model.
        out: A new folder, or for ``keras`` a new file that ends in ``.keras``.
        format: ``saved_model`` or ``keras``.

    Returns:
        ``out``.

    Raises:
        OutputInUse: ``out`` exists.
    """
    model = arguments.instance_of(model, TrainedModel, "model")
    target = arguments.path_of(out, "out")
    format = arguments.choice_of(format, ("saved_model", "keras"), "format")  # noqa: A001
    _configure(model.contract)
    from coterie.serving import export as exporting

    return exporting.export(model, target, format=format)


def describe_model(model: keras.Model) -> KerasModelSection:
    """Writes a contract's ``[model]`` section of a Keras model of one's own.

    Args:
        model: A functional model of two inputs, dense features [batch, numeric] and embedded ids
            [batch, columns, dim], and one output, the logit [batch, 1].

    Returns:
        The section; its ``to_toml()`` is what a contract file holds.

    Raises:
        ModelUnfit: No contract can hold the model; the first layer in the way is named.
    """
    from coterie.models.keras_model import describe_model

    return describe_model(model)


def _layout(
    label: str,
    dialect: DialectName,
    missing: Iterable[str],
    columns: Mapping[str, str],
    keep: tuple[str, ...] = (),
) -> Layout:
    return Layout(
        arguments.text_of(label, "label"),
        dialect=arguments.choice_of(dialect, get_args(DialectName), "dialect"),
        missing=arguments.texts_of(missing, "missing"),
        columns=arguments.names_of(columns, "columns"),
        kept=keep,
    )


def _configure(contract: Contract) -> None:
    from coterie.models.backend import configure_tensorflow

    configure_tensorflow(contract.training.threads)
