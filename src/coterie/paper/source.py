"""What the source states, and where this experiment deviates from it: the words of the page.

Nothing here was measured, and nothing of the source is guessed: what is not known of it is said to be unknown.
Its published program is that of the Confidential Computing Zoo (``cczoo/horizontal_fl``, in
``recommendation_system``), read at commit c49e542.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from coterie.kinds import Mode

TITLE: Final = "Horizontal Federated Learning and Secure Distributed Training for Recommendation System with Intel SGX"
CITATION: Final = "Hui, Zhang, Hu, Song; Intel, 2022; arXiv 2207.05079"


@dataclass(frozen=True)
class SourceFigure:
    """One figure of the source, or two that belong together.

    Attributes:
        number: Their numbers there.
        title: What they show.
        scheme: Of which scheme.
        kind: Curves by step, or training times.
        stated: What the source states, or what is known of it.
        deviations: What is different here.
    """

    number: str
    title: str
    scheme: Mode
    kind: Literal["curves", "times"]
    stated: Sequence[str]
    deviations: Sequence[str]


_NO_POINTS = "The points of its curves are not known to this project, so none are drawn here: neither its losses, nor its accuracies, nor a final AUC."
_NO_LOSS = "Its abstract: the implementation “introduces approximately no loss in model performance” (attested against native)."
_NO_SECONDS = "Its seconds are not known to this project, only their ratio."
_SPEED = "Its abstract: “the training speed is within acceptable limits”."

_DATA = (
    "Rows: the first rows of the given file, at most one tenth of Criteo Kaggle's as in the source.",
    "Split: the first six sevenths are trained on and the next fourteenth is tested on. The source's published program tests on the first seventh; its worker 0 trains the first half of the rest, its worker 3 the second.",
    "Ids: hashed with a seed into tables of one size. The published program numbers the ids of the whole file.",
    "Numbers: log(x + 1). The published program standardizes them over the whole file.",
    "Epochs: one. The published program has five.",
    "Initial values: each engine draws its own, so the two train from other numbers.",
    "One seed. Intervals are for drawing the test rows again, not for training again.",
)
_OPTIMIZER = (
    "Optimizer “source”: SGD with rate 0.1 and batches of 128, as recorded of the source; its published program has Adagrad with rate 0.1 and the same batch.",
    "Optimizer “tuned”: Adagrad, batches of 64. On Coterie's engine with rates 0.01 (dense) and 0.02 (rows) that fall to 0 over the last 15 % of the steps; on TensorFlow's with 0.01 for both, constant.",
)
_TIME = (
    "All nodes share one machine and loopback. The published instructions give each node twelve cores of its own.",
    "The TEE is simulated where a column says so: the ratio is the cost of RA-TLS alone. The source's is of SGX, enclave paging included. The two must not be set against each other.",
    "Seconds are of training: without starting, attestation and evaluation. In SDT without the delivery of the examples on Coterie's engine, and with it on TensorFlow's.",
    "Natively, nodes are plain processes with the same program and no TLS.",
)
_HFL = (
    "Order: TensorFlow's program shuffles each worker's rows; Coterie trains in the order of the file.",
    "Coterie's engine is synchronous; a step is one batch of every worker. TensorFlow's runs asynchronously as the source's program does, and synchronously.",
    "Companies: every fourth row each.",
)
_SDT = (
    "The chief gives examples out. On Coterie's engine it sends each worker its part before training, as the source; on TensorFlow's one function feeds every step's batches to the workers.",
    "Both engines are synchronous here, in the order of the file. Whether the source's SDT is synchronous is not recorded.",
)

FIGURES: Final = (
    SourceFigure(
        "4 and 5",
        "HFL: loss and accuracy while training",
        "hfl",
        "curves",
        (_NO_LOSS, "One parameter server, four workers, DLRM, Criteo.", _NO_POINTS),
        (*_DATA, *_OPTIMIZER, *_HFL),
    ),
    SourceFigure(
        "6",
        "HFL: training time",
        "hfl",
        "times",
        ("In SGX, training takes 2.2 times as long as natively.", _SPEED, _NO_SECONDS),
        (*_TIME, *_HFL[1:2]),
    ),
    SourceFigure(
        "7",
        "SDT: loss and accuracy while training",
        "sdt",
        "curves",
        (_NO_LOSS, "One chief, one parameter server, two workers, DLRM, Criteo.", _NO_POINTS),
        (*_DATA, *_OPTIMIZER, *_SDT),
    ),
    SourceFigure(
        "8",
        "SDT: training time",
        "sdt",
        "times",
        ("In SGX, training takes 1.6 times as long as natively.", _SPEED, _NO_SECONDS),
        (*_TIME, *_SDT),
    ),
)
#: Figures 4, 5 and 7 are of loss and accuracy, 6 and 8 of time; the source treats HFL first.
NUMBERING: Final = (
    "Recorded of the source's figures are their subjects: 4, 5 and 7 are training curves, 6 and 8 training times. That 4 to 6 are of HFL and 7 "
    "and 8 of SDT follows from the order in which it treats the schemes."
)
RATIOS: Final[dict[Mode, float]] = {"hfl": 2.2, "sdt": 1.6}
