"""Evaluates a trained model on prepared data sets or on raw files with labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from coterie.contract import DataSection
from coterie.data.dataset import open_dataset
from coterie.data.examples import Examples
from coterie.data.manifest import MANIFEST_NAME, party_of
from coterie.data.prepare.compression import RawFile
from coterie.data.prepare.encoding import encode_rows
from coterie.data.prepare.layout import Layout
from coterie.data.prepare.reader import CriteoReader
from coterie.errors import DataSetMismatch
from coterie.metrics.binary import Metrics
from coterie.metrics.counting import ScoreCounter
from coterie.metrics.histogram import ScoreHistogram
from coterie.serving.scoring import Scorer
from coterie.trained.trained_model import TrainedModel

_ROWS_AT_A_TIME = 1 << 14


@dataclass(frozen=True)
class Evaluation:
    """The quality of a model on some data.

    Attributes:
        model_digest: The model's digest, 64 hex digits.
        parts: Exact metrics by part: ``validation`` and ``test`` of prepared data, ``all`` of a raw
            file.
        bad_lines: The first hundred of a raw file's rows that were skipped, with reasons.
    """

    model_digest: str
    parts: dict[str, Metrics]
    bad_lines: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """The evaluation for JSON."""
        return {
            "model_digest": self.model_digest,
            **{part: metrics.to_dict() for part, metrics in self.parts.items()},
            "bad_lines": self.bad_lines,
        }


def evaluate(
    model: TrainedModel, data: Path, *, layout: Layout | None = None, max_bad_rows: int = 0
) -> Evaluation:
    """Scores data and measures how well the scores predict the labels.

    Args:
        model: The model.
        data: A party's prepared data set; or the folder that ``coterie prepare`` filled with one
            data set per party, which are taken together; or a raw file with labels.
        layout: Known properties of a raw file.
        max_bad_rows: Bad rows of a raw file that are skipped at most.

    Raises:
        DataSetMismatch: The data were prepared under another data section, or there are none.
        DataSetDamaged: A prepared file is damaged.
        RawDataInvalid: The raw file has bad rows, or no labels.
    """
    section = model.contract.data
    if data.is_dir():
        histograms = _of_data_sets(Scorer(model), _data_sets(data, model), section)
        parts = {part: histogram.metrics() for part, histogram in histograms.items()}
        return Evaluation(model.digest.hex(), parts)
    section = section.model_copy(update={"row_limit": None})
    reader = CriteoReader(RawFile(data), section, layout=layout, max_bad_rows=max_bad_rows)
    counts = _of_rows(Scorer(model), reader, section)
    return Evaluation(model.digest.hex(), {"all": counts.metrics()}, tuple(reader.bad.lines))


def _data_sets(folder: Path, model: TrainedModel) -> list[Path]:
    """The prepared data sets in a folder: the folder itself, or one in it per party."""
    if (folder / MANIFEST_NAME).exists():
        return [folder]
    parties = [node.party for node in model.contract.data_owners()]
    found = [folder / party for party in parties if (folder / party / MANIFEST_NAME).exists()]
    if not found:
        raise DataSetMismatch(
            f"{folder} holds no prepared data set of a party of the model's contract",
            expected=f"{MANIFEST_NAME}, or a folder of that party: {', '.join(parties)[:200]}",
            seen="neither",
            remedy="name what coterie prepare wrote, or a raw file",
        )
    return found


def _of_data_sets(
    scorer: Scorer, folders: list[Path], section: DataSection
) -> dict[str, ScoreHistogram]:
    validation: list[ScoreHistogram] = []
    test: list[ScoreHistogram] = []
    for folder in folders:
        data_set = open_dataset(folder, section, party=party_of(folder))
        validation.append(_of_examples(scorer, data_set.validation))
        test.append(_of_examples(scorer, data_set.test))
    return {"validation": ScoreHistogram.merged(validation), "test": ScoreHistogram.merged(test)}


def _of_examples(scorer: Scorer, examples: Examples) -> ScoreHistogram:
    counter = ScoreCounter(groups=None)
    for start in range(0, examples.rows, _ROWS_AT_A_TIME):
        batch = examples.batch(start, start + _ROWS_AT_A_TIME)
        counter.add(scorer.logits(batch), batch.labels_b)
    return counter.histogram()


def _of_rows(scorer: Scorer, reader: CriteoReader, section: DataSection) -> ScoreHistogram:
    counter = ScoreCounter(groups=None)
    for rows in reader.rows():
        batch = encode_rows(rows, section)
        counter.add(scorer.logits(batch), batch.labels_b)
    return counter.histogram()
