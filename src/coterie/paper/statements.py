"""What the paper states, and where an experiment that has run deviates from it: the words of the page.

Nothing of the paper is guessed: what is not known of it is said to be unknown. Its published program is that of the
Confidential Computing Zoo (``cczoo/horizontal_fl``, in ``recommendation_system``), read at commit c49e542.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from coterie.kinds import Mode
from coterie.paper.plan import PAPER_ROWS, SETTINGS, Setting
from coterie.paper.results import PaperResults

TITLE: Final = "Horizontal Federated Learning and Secure Distributed Training for Recommendation System with Intel SGX"
CITATION: Final = "Hui, Zhang, Hu, Song; Intel, 2022; arXiv 2207.05079"
PUBLISHED_EPOCHS: Final = 5


@dataclass(frozen=True)
class PaperFigure:
    """One figure of the paper, or two that belong together.

    Attributes:
        number: Their numbers there.
        title: What they show.
        scheme: Of which scheme.
        kind: Curves by step, or training times.
        stated: What the paper states, or what is known of it.
    """

    number: str
    title: str
    scheme: Mode
    kind: Literal["curves", "times"]
    stated: Sequence[str]


_NO_POINTS = "The points of its curves are not known to this project, so none are drawn here: neither its losses, nor its accuracies, nor a final AUC."
_NO_LOSS = "Its abstract: the implementation “introduces approximately no loss in model performance” (attested against native)."
_NO_SECONDS = "Its seconds are not known to this project, only their ratio."
_SPEED = "Its abstract: “the training speed is within acceptable limits”."

FIGURES: Final = (
    PaperFigure(
        "4 and 5",
        "HFL: loss and accuracy while training",
        "hfl",
        "curves",
        (_NO_LOSS, "One parameter server, four workers, DLRM, Criteo.", _NO_POINTS),
    ),
    PaperFigure(
        "6",
        "HFL: training time",
        "hfl",
        "times",
        ("In SGX, training takes 2.2 times as long as natively.", _SPEED, _NO_SECONDS),
    ),
    PaperFigure(
        "7",
        "SDT: loss and accuracy while training",
        "sdt",
        "curves",
        (_NO_LOSS, "One chief, one parameter server, two workers, DLRM, Criteo.", _NO_POINTS),
    ),
    PaperFigure(
        "8",
        "SDT: training time",
        "sdt",
        "times",
        ("In SGX, training takes 1.6 times as long as natively.", _SPEED, _NO_SECONDS),
    ),
)
#: Figures 4, 5 and 7 are of loss and accuracy, 6 and 8 of time; the paper treats HFL first.
NUMBERING: Final = (
    "Recorded of the paper's figures are their subjects: 4, 5 and 7 are training curves, 6 and 8 training times. That 4 to 6 are of HFL and 7 "
    "and 8 of SDT follows from the order in which it treats the schemes."
)
RATIOS: Final[dict[Mode, float]] = {"hfl": 2.2, "sdt": 1.6}


def deviations(figure: PaperFigure, results: PaperResults) -> tuple[str, ...]:
    """What was different in an experiment, beside a figure of the paper.

    Args:
        figure: The figure.
        results: What ran.
    """
    found = [
        *_data(results, figure.scheme),
        _MODEL,
        *_optimizers(),
        _BATCHES[figure.scheme],
        *_UPDATES[figure.scheme],
    ]
    found += _TIME if figure.kind == "times" else _LEARNING
    return tuple(found)


_MODEL = "Model: one output, a logit. The published program's has two, each through a sigmoid, which its loss takes for logits."
_LEARNING = (
    "Initial values: each engine draws its own, so the two train from other numbers.",
    "One seed. Intervals are for drawing the test rows again, not for training again.",
)
_TIME = (
    "All nodes share one machine and loopback. The published instructions give each node twelve cores of its own.",
    "The TEE is simulated where a column says so: the ratio is the cost of RA-TLS alone. The paper's is of SGX, enclave paging included. The two must not be set against each other.",
    "Seconds are of training: without starting, attestation and evaluation. In SDT without the delivery of the examples on Coterie's engine, and with it on TensorFlow's.",
    "Natively, nodes are plain processes with the same program and no TLS.",
)
_COTERIES_BATCHES = (
    "On Coterie's engine in the order of the file, the last one of an epoch smaller."
)
_BATCHES: dict[Mode, str] = {
    "hfl": f"Batches: each worker's own. {_COTERIES_BATCHES} On TensorFlow's shuffled among 65,536 rows, all whole, the last one of an epoch "
    "filled from the next. The published program shuffles among 2,048 rows, and the last batch of an epoch is smaller.",
    "sdt": f"Batches: each worker's own. {_COTERIES_BATCHES} On TensorFlow's in the order of the file, all whole, the last one of an epoch "
    "filled from the next. How the paper's chief makes them is not recorded.",
}
_UPDATES: dict[Mode, tuple[str, ...]] = {
    "hfl": (
        "Updates: synchronous on Coterie's engine; a step is one batch of every worker. On TensorFlow's asynchronous, as in the published program, and synchronous.",
        "Companies: every fourth row each. The published program's worker 0 trains the first half of the training rows, its worker 3 the second.",
    ),
    "sdt": (
        "Updates: synchronous on both engines. Whether the paper's are is not recorded.",
        "Parts: on Coterie's engine the chief sends each worker its part before training, as the paper's; on TensorFlow's one function feeds every step's batches to the workers.",
    ),
}


def _data(results: PaperResults, scheme: Mode) -> Iterator[str]:
    data = results.data
    of_all = f"the first {data.rows:,} of the given file"
    which = f"{data.rows:,} synthetic ones, made here" if data.synthetic else of_all
    yield f"Rows: {which}. The paper has one tenth of Criteo Kaggle's: {PAPER_ROWS:,}."
    if results.epochs != PUBLISHED_EPOCHS:
        yield f"Epochs: {results.epochs}. The published program has {PUBLISHED_EPOCHS}."
    yield "Split: the first six sevenths are trained on and the next fourteenth is tested on. The published program tests on the first seventh."
    rare = "".join(
        f"with “{name}” ids that occur fewer than {setting.min_count[scheme]} times in a party's training rows share one; "
        for name, setting in SETTINGS.items()
        if setting.min_count[scheme] > 1
    )
    yield f"Ids: hashed with a seed into {results.table_rows:,} rows for each column; {rare}the published program numbers the ids of the whole file."
    yield "Numbers: log(x + 1). The published program standardizes them over the whole file."


def _optimizers() -> Iterator[str]:
    ours, tuned = SETTINGS["paper"], SETTINGS["tuned"]
    yield (
        f"Optimizer “paper”: {_named(ours)} with rate {ours.dense_rate:g} and batches of {ours.batch}, as recorded of the paper; its published "
        "program has Adagrad with rate 0.1 and batches of 128."
    )
    yield (
        f"Optimizer “tuned”: {_named(tuned)}, batches of {tuned.batch}. On Coterie's engine with rates {tuned.dense_rate:g} (dense) and "
        f"{tuned.row_rate:g} (rows) that fall to 0 over the last {tuned.decay:.0%} of the steps; on TensorFlow's with {tuned.dense_rate:g} for "
        "both, constant."
    )


def _named(setting: Setting) -> str:
    return "SGD" if setting.optimizer == "sgd" else "Adagrad"
