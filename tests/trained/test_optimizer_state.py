"""The file of what optimizers keep, and both files read as streams: every byte counts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coterie.contract import contract_digest
from coterie.errors import CoterieError, ModelDamaged, StartRefused
from coterie.parameters.digest import optimizer_digest
from coterie.ps.core.state import ModelState
from coterie.trained.model_stream import ModelStream, Octets
from coterie.trained.optimizer_state import (
    HEADER,
    StateStream,
    StateSummary,
    StateWriter,
    read_state,
    state_file_bytes,
)
from tests.ps.conftest import small_contract
from tests.trained.test_trained_model import model_of, trained_state

CONTRACT = small_contract(dense={"kind": "adam"}, rows={"kind": "lazy_adam"})
MODEL = b"\7" * 32


class Memory:
    def __init__(self) -> None:
        self.octets = b""

    def write(self, octets: bytes, /) -> None:
        self.octets += octets


def state_octets(state: ModelState, model: bytes = MODEL) -> bytes:
    """A server's optimizer state as a file."""
    memory, rows = Memory(), state.table.trained_rows()
    writer = StateWriter(
        memory,
        model,
        updates=1,
        dense_state=state.optimizer.state,
        width=state.table.state_width,
        rows=rows.size,
    )
    writer.append(rows, state.table.state_of(rows))
    writer.finish()
    return memory.octets


STATE = trained_state(CONTRACT)
OCTETS = state_octets(STATE)


def pieces(octets: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(octets), size):
        yield octets[start : start + size]


def read(octets: bytes, size: int = 50, **sizes: int) -> tuple[StateStream, bytes]:
    stream = StateStream(Octets(pieces(octets, size), "s"), **sizes)
    found = list(stream.rows.pieces())
    digest = stream.finish()
    assert [ids.tolist() for ids, _ in found] == [[0, 3, 6, 13]]
    assert found[0][1].tobytes() == STATE.table.state_of(found[0][0]).tobytes()
    return stream, digest


@given(size=st.integers(1, 400))
def test_a_state_comes_back_whole_in_pieces_of_any_size(size: int) -> None:
    stream, digest = read(OCTETS, size, dense=30, width=4, total_rows=15)
    assert (stream.model, stream.updates, stream.width) == (MODEL, 1, 4)
    assert stream.dense_state.tobytes() == STATE.optimizer.state.tobytes()
    slices = [STATE.state_digests()[start : start + 32] for start in range(0, 256 * 32, 32)]
    assert digest == optimizer_digest(MODEL, 1, 4, STATE.optimizer.state, slices)
    assert len(OCTETS) == state_file_bytes(dense=30, rows=4, width=4)


def test_its_file_says_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "s").write_bytes(OCTETS)
    assert read_state(tmp_path / "s") == StateSummary(read(OCTETS)[1], MODEL, 1)


@given(place=st.integers(0, len(OCTETS) - 1), bit=st.integers(0, 7))
def test_a_bit_of_a_state_that_was_altered_is_refused(place: int, bit: int) -> None:
    changed = bytearray(OCTETS)
    changed[place] ^= 1 << bit
    with pytest.raises(ModelDamaged, match="is damaged"):
        read(bytes(changed))


@given(end=st.integers(0, len(OCTETS) - 1))
def test_a_state_that_was_cut_is_refused(end: int) -> None:
    with pytest.raises(ModelDamaged, match="its size is wrong"):
        read(OCTETS[:end])


def test_more_bytes_are_refused() -> None:
    with pytest.raises(ModelDamaged, match="its size is wrong") as refused:
        read(OCTETS + b"\0")
    assert refused.value.seen == "more"


def header(**changes: object) -> bytes:
    fields = dict(
        zip(
            ("magic", "version", "width", "dense", "rows", "updates", "zero", "model", "more"),
            HEADER.unpack(OCTETS[: HEADER.size]),
            strict=True,
        )
    )
    return HEADER.pack(*(fields | changes).values()) + OCTETS[HEADER.size :]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"magic": b"COTMODEL"}, "b'COTOPTIM'"),
        ({"version": 2}, "1"),
        ({"dense": 31}, "30 dense values"),
        ({"width": 5}, "4 values a row"),
        ({"rows": 16}, "at most 15 rows"),
    ],
    ids=str,
)
def test_a_state_of_other_sizes_is_refused_before_it_is_read(
    changes: dict[str, object], expected: str
) -> None:
    with pytest.raises(ModelDamaged) as refused:
        read(header(**changes), dense=30, width=4, total_rows=15)
    assert refused.value.expected == expected


@pytest.mark.parametrize("changes", [{"dense": 1 << 40}, {"width": 1 << 20}], ids=str)
def test_nothing_makes_a_reader_take_what_no_state_needs(changes: dict[str, object]) -> None:
    with pytest.raises(ModelDamaged, match="its header is wrong"):
        read(header(**changes))


def test_a_state_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelDamaged, match="cannot be read") as refused:
        read_state(tmp_path / "none")
    assert refused.value.seen == "No such file or directory"


@pytest.fixture(scope="module")
def model_octets(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("m") / "model.coterie"
    model_of(trained_state()).write(path)
    return path.read_bytes()


def read_model(octets: bytes, size: int = 100, contract: bytes | None = None) -> bytes:
    agreed = contract or contract_digest(small_contract(rows={"kind": "rowwise_adagrad"}))
    stream = ModelStream(Octets(pieces(octets, size), "m"), agreed)
    ids = [ids.tolist() for ids, _ in stream.rows.pieces()]
    digest = stream.finish()
    assert ids == [[0, 3, 6, 13]]
    return digest


@pytest.mark.parametrize("size", [1, 63, 64, 1000, 1 << 20])
def test_a_model_is_read_from_pieces_of_any_size(size: int, model_octets: bytes) -> None:
    assert read_model(model_octets, size) == model_of(trained_state()).digest


def test_a_bit_of_a_model_that_was_altered_is_refused(model_octets: bytes) -> None:
    for place in np.random.default_rng(3).integers(0, len(model_octets), 300).tolist():
        changed = bytearray(model_octets)
        changed[place] ^= 4
        with pytest.raises(CoterieError) as refused:
            read_model(bytes(changed))
        assert isinstance(refused.value, ModelDamaged | StartRefused)


@pytest.mark.parametrize("end", [0, 63, 64, 700, -193, -192, -1])
def test_a_model_that_was_cut_is_refused(end: int, model_octets: bytes) -> None:
    with pytest.raises(ModelDamaged, match="its size is wrong") as refused:
        read_model(model_octets[:end])
    assert refused.value.seen == f"{len(model_octets[:end])} bytes"


def test_a_model_of_another_contract_is_refused_before_its_contract_is_read(
    model_octets: bytes,
) -> None:
    with pytest.raises(StartRefused, match="was trained under another contract") as refused:
        read_model(model_octets, contract=b"\1" * 32)
    assert refused.value.expected == f"contract {'01' * 32}"
