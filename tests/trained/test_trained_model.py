"""The file of a trained model: every byte of it counts, and rows are what evaluation sees."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coterie.contract import Contract, canonical_json, contract_digest
from coterie.errors import DataError, ModelDamaged, OutputInUse
from coterie.parameters.initial import initial_dense
from coterie.ps.core.aggregation import Gradients
from coterie.ps.core.state import ModelState
from coterie.trained.model_file import HEADER, HEADER_BYTES, TRAILER_BYTES, ModelWriter, padded
from coterie.trained.trained_model import TrainedModel
from tests.ps.conftest import digest_of, small_contract

CONTRACT = small_contract(rows={"kind": "rowwise_adagrad"})


def trained_state(contract: Contract = CONTRACT) -> ModelState:
    """A server's state after a step that touched four of its fifteen rows."""
    state = ModelState(contract)
    random = np.random.default_rng(5)
    ids = np.array([0, 3, 6, 13], np.int32)
    state.apply(
        Gradients(
            examples=4,
            loss_sum=2.0,
            dense_p=random.normal(size=15).astype(np.float32),
            row_ids_u=ids,
            rows_ud=random.normal(size=(4, 2)).astype(np.float32),
        ),
        first_of_epoch=True,
    )
    return state


def model_of(state: ModelState, contract: Contract = CONTRACT) -> TrainedModel:
    rows = state.table.trained_rows()
    return TrainedModel.of(contract, state.step, state.dense, rows, state.table.values_of(rows))


@pytest.fixture
def model() -> TrainedModel:
    return model_of(trained_state())


@pytest.fixture
def octets(model: TrainedModel, tmp_path: Path) -> bytes:
    model.write(tmp_path / "model.coterie")
    return (tmp_path / "model.coterie").read_bytes()


def test_a_model_comes_back_from_its_file_whole(model: TrainedModel, tmp_path: Path) -> None:
    path = tmp_path / "new" / "model.coterie"
    model.write(path)
    read = TrainedModel.read(path)
    assert read.digest == model.digest
    assert (read.steps, read.contract) == (1, CONTRACT)
    assert read.contract_digest == contract_digest(CONTRACT)
    assert read.dense.tobytes() == model.dense.tobytes()
    assert read.row_ids.tolist() == [0, 3, 6, 13]
    assert read.row_values.tobytes() == model.row_values.tobytes()
    assert path.stat().st_size == read.file_bytes
    assert not read.dense.flags.writeable
    assert not read.row_values.flags.writeable
    assert [entry.name for entry in path.parent.iterdir()] == ["model.coterie"]


def test_its_digest_is_the_servers(model: TrainedModel) -> None:
    assert model.digest == digest_of(CONTRACT, trained_state())


def test_a_model_that_was_never_trained_has_the_contracts_initial_values() -> None:
    state = ModelState(CONTRACT)
    model = model_of(state)
    parameters = CONTRACT.model.dense_parameters(CONTRACT.data)
    assert model.dense.tobytes() == initial_dense(7, parameters).tobytes()
    assert not model.trained(np.arange(15, dtype=np.int32)).any()
    first_of_each = state.table.read(np.array([0, 4, 9], np.int32))
    expected = np.repeat(first_of_each, [4, 5, 6], axis=0)
    assert model.rows(np.arange(15, dtype=np.int32)).tobytes() == expected.tobytes()


def test_rows_are_those_that_evaluation_sees(model: TrainedModel) -> None:
    table = trained_state().table
    every = np.arange(15, dtype=np.int32)
    values, trained = table.read(every), table.trained(every)
    firsts = np.repeat(np.array([0, 4, 9]), [4, 5, 6])
    expected = np.where(trained[:, None], values, values[firsts])
    assert model.rows(every).tobytes() == expected.tobytes()
    assert model.trained(every).tolist() == trained.tolist()
    shuffled = np.random.default_rng(1).integers(0, 15, 100).astype(np.int32)
    assert model.rows(shuffled).tobytes() == expected[shuffled].tobytes()
    assert model.rows(np.zeros(0, np.int32)).shape == (0, 2)


@pytest.mark.parametrize("row", [-1, 15])
def test_a_row_out_of_range_is_refused(model: TrainedModel, row: int) -> None:
    with pytest.raises(DataError, match="a row was asked for that the model does not have"):
        model.rows(np.array([0, row], np.int32))


def test_dense_parameters_have_names_and_shapes(model: TrainedModel) -> None:
    named = model.parameters()
    expected = CONTRACT.model.dense_parameters(CONTRACT.data)
    assert [(name, values.shape) for name, values in named.items()] == [
        (parameter.name, parameter.shape) for parameter in expected
    ]
    flat = np.concatenate([values.ravel() for values in named.values()])
    assert flat.tobytes() == model.dense.tobytes()


def parts_of(octets: bytes) -> list[tuple[str, range]]:
    """The parts of a model file, as its errors name them."""
    _, _, _, text, dense, _, _, _ = HEADER.unpack(octets[:HEADER_BYTES])
    ends = [HEADER_BYTES, HEADER_BYTES + text, HEADER_BYTES + padded(text)]
    ends += [ends[-1] + padded(4 * dense), len(octets) - TRAILER_BYTES, len(octets)]
    names = [
        "header",
        "contract",
        "padding after the contract",
        "dense part",
        "rows part",
        "trailer",
    ]
    starts = [0, *ends[:-1]]
    return [(n, range(a, b)) for n, a, b in zip(names, starts, ends, strict=True)]


def test_every_bit_of_every_byte_counts_and_the_error_names_its_part(octets: bytes) -> None:
    header_words = ("header", "magic", "format version", "size")
    for name, places in parts_of(octets):
        expected = header_words if name == "header" else (name,)
        for place in places:
            altered = bytearray(octets)
            altered[place] ^= 1 << place % 8
            with pytest.raises(ModelDamaged) as refused:
                TrainedModel.from_bytes(bytes(altered), "model.coterie")
            assert any(f"its {word} is wrong" in refused.value.what for word in expected), (
                place,
                refused.value.what,
            )


@given(cut=st.integers(min_value=1, max_value=4000))
def test_a_file_that_was_cut_is_refused(cut: int) -> None:
    octets = _octets()
    for short in (octets[:-cut] if cut < len(octets) else b"", octets[min(cut, len(octets)) :]):
        with pytest.raises(ModelDamaged):
            TrainedModel.from_bytes(short, "model.coterie")


def test_bytes_at_the_end_are_refused(octets: bytes) -> None:
    with pytest.raises(ModelDamaged, match="its size is wrong"):
        TrainedModel.from_bytes(octets + b"\0", "model.coterie")


def _octets(text: bytes | None = None) -> bytes:
    parts: list[bytes] = []

    class Target:
        def write(self, octets: bytes, /) -> None:
            parts.append(octets)

    state = trained_state()
    rows = state.table.trained_rows()
    writer = ModelWriter(
        Target(), CONTRACT, steps=1, dense_p=state.dense, rows=rows.size, text=text
    )
    writer.append(rows, state.table.values_of(rows))
    writer.finish()
    return b"".join(parts)


def resealed(octets: bytes, part: str, altered: bytes) -> bytes:
    """A file with one part replaced and every digest but the model's made to fit: a forger's."""
    places = dict(parts_of(octets))
    start, stop = places[part].start, places[part].stop
    assert len(altered) == stop - start
    made = bytearray(octets)
    made[start:stop] = altered
    trailer = bytearray(made[-TRAILER_BYTES:])
    digest = hashlib.sha256(bytes(altered)).digest()
    at = {"header": 0, "dense part": 64, "rows part": 96}[part]
    trailer[at : at + 32] = digest
    trailer[-32:] = hashlib.sha256(bytes(trailer[:-32])).digest()
    made[-TRAILER_BYTES:] = trailer
    return bytes(made)


@pytest.mark.parametrize("part", ["dense part", "rows part"])
def test_a_forger_who_mends_the_parts_digests_meets_the_models(octets: bytes, part: str) -> None:
    places = dict(parts_of(octets))[part]
    altered = bytearray(octets[places.start : places.stop])
    altered[4] ^= 1  # a value's lowest bits
    with pytest.raises(ModelDamaged, match="its model digest is wrong"):
        TrainedModel.from_bytes(resealed(octets, part, bytes(altered)), "model.coterie")


def test_a_forged_number_of_steps_meets_the_models_digest(octets: bytes) -> None:
    fields = list(HEADER.unpack(octets[:HEADER_BYTES]))
    fields[6] += 1
    with pytest.raises(ModelDamaged, match="its model digest is wrong"):
        TrainedModel.from_bytes(resealed(octets, "header", HEADER.pack(*fields)), "model.coterie")


@pytest.mark.parametrize(
    ("ids", "seen"),
    [([0, 3, 3, 13], "another order"), ([3, 0, 6, 13], "another order"), ([0, 3, 6, 15], "range")],
)
def test_rows_out_of_order_or_range_are_refused_whatever_the_digests(
    octets: bytes, ids: list[int], seen: str
) -> None:
    places = dict(parts_of(octets))["rows part"]
    words = np.frombuffer(octets[places.start : places.stop], "<i4").reshape(4, 3).copy()
    words[:, 0] = ids
    with pytest.raises(ModelDamaged, match="its rows part is wrong") as refused:
        TrainedModel.from_bytes(resealed(octets, "rows part", words.tobytes()), "model.coterie")
    assert seen in refused.value.seen


@pytest.mark.parametrize("part", ["dense part", "rows part"])
def test_values_that_are_not_finite_are_refused_whatever_the_digests(
    octets: bytes, part: str
) -> None:
    places = dict(parts_of(octets))[part]
    words = np.frombuffer(octets[places.start : places.stop], "<f4").copy()
    words[1] = np.inf
    with pytest.raises(ModelDamaged, match=f"its {part} is wrong"):
        TrainedModel.from_bytes(resealed(octets, part, words.tobytes()), "model.coterie")


def test_the_contract_is_kept_as_it_was_agreed_and_its_text_counts(octets: bytes) -> None:
    places = dict(parts_of(octets))["contract"]
    assert octets[places.start : places.stop] == canonical_json(CONTRACT)


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelDamaged, match="cannot be read"):
        TrainedModel.read(tmp_path / "none")
    (tmp_path / "text").write_text("hello\n" * 100)
    with pytest.raises(
        ModelDamaged, match=r"its magic is wrong.*expected: COTMODEL; seen: hello\\nhe"
    ):
        TrainedModel.read(tmp_path / "text")
    (tmp_path / "empty").touch()
    with pytest.raises(ModelDamaged, match="its size is wrong"):
        TrainedModel.read(tmp_path / "empty")


def test_a_model_that_cannot_be_written_leaves_nothing(model: TrainedModel, tmp_path: Path) -> None:
    (tmp_path / "model.coterie").mkdir()
    with pytest.raises(OutputInUse, match="cannot be written"):
        model.write(tmp_path / "model.coterie")
    (tmp_path / "file").touch()
    with pytest.raises(OutputInUse, match="cannot be written"):
        model.write(tmp_path / "file" / "model.coterie")


def test_a_file_of_that_name_is_replaced(model: TrainedModel, tmp_path: Path) -> None:
    (tmp_path / "model.coterie").write_text("old")
    model.write(tmp_path / "model.coterie")
    assert TrainedModel.read(tmp_path / "model.coterie").digest == model.digest


@pytest.mark.system
def test_reading_a_model_loads_no_tensorflow() -> None:
    code = (
        "import sys, coterie.trained.trained_model, coterie.trained.model_reader\n"
        "assert not {'tensorflow', 'keras', 'grpc'} & sys.modules.keys(), sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_contract_of_an_earlier_schema_stays_as_it_was_agreed(tmp_path: Path) -> None:
    value = json.loads(canonical_json(CONTRACT))
    del value["results"]  # a key that came later, with a default
    text = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    digest = hashlib.sha256(b"coterie contract 1\0" + text).digest()
    older = TrainedModel.from_bytes(_octets(text), "older")
    assert older.contract == CONTRACT
    assert older.contract_digest == digest != contract_digest(CONTRACT)
    older.write(tmp_path / "again")
    assert TrainedModel.read(tmp_path / "again").contract_digest == digest
    assert (tmp_path / "again").stat().st_size == older.file_bytes
