"""Whole trainings: who computes, and whether what is sent is packed, does not show in the model."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from coterie.contract import parse_contract
from coterie.data.prepare.preparation import prepare
from coterie.data.prepare.synthetic import synthesize
from coterie.nodes.launch import run_in_process
from coterie.plane.choice import computing_with
from coterie.plane.native_kernels import WAYS
from coterie.plane.numpy_kernels import NumpyKernels
from tests.plane.ways import PackingNumpy, native_kernels
from tests.system.conftest import contract_text

PARTIES = ("acme", "bolt", "corn")


class PackingNowAndThen(NumpyKernels):
    """Some messages are packed and some are not, as among nodes with and without the library."""

    def __init__(self) -> None:
        self._turns = itertools.cycle((True, True, False, True, False))

    @property
    def packs(self) -> bool:  # type: ignore[override]
        return next(self._turns)


@pytest.mark.tensorflow
@pytest.mark.parametrize("row_optimizer", ["sgd", "adagrad", "rowwise_adagrad"])
def test_the_model_has_the_same_bits(row_optimizer: str, tmp_path: Path) -> None:
    dense_optimizer = "sgd" if row_optimizer == "sgd" else "adagrad"
    text = contract_text("hfl", PARTIES)
    for old, new in (("rowwise_adagrad", row_optimizer), ("adagrad", dense_optimizer)):
        assert f'kind = "{old}"' in text
        text = text.replace(f'kind = "{old}"', f'kind = "{new}"', 1)
    contract = parse_contract(text.encode(), "small")
    synthesize(tmp_path / "raw.tsv", rows=900, seed=1)
    prepare(tmp_path / "raw.tsv", tmp_path / "data", contract, deal="round-robin")
    digests = set()
    for chosen in (NumpyKernels(), PackingNumpy(), PackingNowAndThen(), *map(native_kernels, WAYS)):
        with computing_with(chosen):
            result = run_in_process(
                contract, tmp_path / "data", lambda _: None, out=None, compare=False
            )
        digests.add(result.model_digest)
    assert len(digests) == 1
