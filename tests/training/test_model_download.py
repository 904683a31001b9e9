"""A download is checked part by part; what is not the model that the server named leaves nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coterie.contract import Contract
from coterie.errors import PeerUnreachable, ProtocolError, RollbackRefused
from coterie.parameters.sharding import Sharding
from coterie.ps.methods import ReplyStream, Unary
from coterie.ps.ports import ParameterServerPort
from coterie.ps.wire import ps_pb2 as pb
from coterie.ps.wire.codecs import Reply, Request
from coterie.trained.trained_model import PlainModelFile, TrainedModel
from coterie.training.client import ServerClient
from coterie.training.model_download import merged, receive_model
from tests.ps.conftest import small_contract
from tests.ps.test_several_shards import contract_of
from tests.ps.transports import NoTransport

ONE = small_contract()
TWO = contract_of(2)
Parts = list[pb.DownloadPart]
RUN = "5e" * 32


class Shard(NoTransport):
    """A transport to a shard whose run is over; it streams what a test wants."""

    def __init__(self, *streams: Parts | Exception) -> None:
        self._streams = list(streams)

    def unary(self, method: Unary[Request, Reply], _request: Request) -> Reply:
        reply = pb.JoinReply(
            step=2,
            steps=2,
            steps_per_epoch=2,
            finished=True,
            lineage=pb.Lineage(run_id=RUN),
        )
        assert isinstance(reply, method.codec.reply)
        return reply

    def reply_stream(
        self, method: ReplyStream[Request, Reply], _request: Request
    ) -> Iterator[Reply]:
        for part in self.download():
            assert isinstance(part, method.codec.reply)
            yield part

    def download(self) -> Iterator[pb.DownloadPart]:
        stream = self._streams.pop(0) if len(self._streams) > 1 else self._streams[0]
        if isinstance(stream, Exception):
            raise stream
        yield from stream


def rows_part(ids: list[int], dim: int = 2, value: float = 0.5) -> pb.DownloadPart:
    return pb.DownloadPart(
        rows=pb.ModelRows(
            row_ids=np.array(ids, "<i4").tobytes(),
            values=np.full((len(ids), dim), value, "<f4").tobytes(),
        )
    )


def header(
    rows: int, *, step: int = 2, dense: int = 15, digest: bytes = b"", run: str = RUN
) -> pb.DownloadPart:
    return pb.DownloadPart(
        header=pb.ModelHeader(
            step=step,
            rows=rows,
            dense_parameters=np.zeros(dense, "<f4").tobytes(),
            model_digest=digest,
            run_id=run,
        )
    )


def digest_of(contract: Contract, ids: list[int], value: float = 0.5) -> bytes:
    values = np.full((len(ids), 2), value, np.float32)
    dense = np.zeros(15, np.float32)
    return TrainedModel.of(contract, 2, dense, np.array(ids, np.int32), values).digest


IDS = [1, 4, 9]
DIGEST = digest_of(ONE, IDS)
GOOD: Parts = [header(3, digest=DIGEST), rows_part([1]), rows_part([4, 9])]


def received(contract: Contract, path: Path, *shards: Shard) -> bytes:
    def dial(shard: int) -> ParameterServerPort:
        return ParameterServerPort(shards[shard])

    session = ServerClient(dial, contract, train_examples=8, data_set_digest=bytes(32))
    try:
        return receive_model(session, contract, PlainModelFile(path).writing)
    finally:
        session.close()


def test_a_model_that_comes_in_parts_is_kept_whole(tmp_path: Path) -> None:
    path = tmp_path / "model.coterie"
    assert received(ONE, path, Shard(GOOD)) == DIGEST
    assert TrainedModel.read(path).row_ids.tolist() == IDS


def test_the_model_of_another_run_is_refused_and_not_kept(tmp_path: Path) -> None:
    other = [header(3, digest=DIGEST, run="0b" * 32), *GOOD[1:]]
    with pytest.raises(RollbackRefused, match="the model of another run") as refused:
        received(ONE, tmp_path / "m", Shard(other))
    assert (refused.value.expected, refused.value.seen) == (f"run {RUN}", f"run {'0b' * 32}")
    assert list(tmp_path.iterdir()) == []


def test_a_stream_that_is_pending_is_asked_for_again(tmp_path: Path) -> None:
    pending = [pb.DownloadPart(pending=True)]
    assert received(ONE, tmp_path / "m", Shard(pending, pending, GOOD)) == DIGEST


@pytest.mark.parametrize("broken", [0, 1, 2])
def test_a_stream_that_breaks_off_begins_anew(tmp_path: Path, broken: int) -> None:
    class Broken(Shard):
        def download(self) -> Iterator[pb.DownloadPart]:
            if self._streams:
                self._streams.clear()
                yield from GOOD[:broken]
                raise PeerUnreachable("the server was killed")
            yield from GOOD

    assert received(ONE, tmp_path / "m", Broken(GOOD)) == DIGEST
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


# (what, its parts, what the error expects)
REFUSED: list[tuple[str, Parts, str]] = [
    ("nothing at all", [], "a header"),
    ("rows without a header", [rows_part(IDS)], "a header"),
    ("a second header", [*GOOD[:2], GOOD[0]], "rows"),
    ("a header without a digest", [header(3), *GOOD[1:]], "a digest of 32 bytes"),
    ("too few dense parameters", [header(3, dense=14, digest=DIGEST)], "15 dense parameters"),
    ("more rows than the table has", [header(16, digest=DIGEST)], "at most 15 rows"),
    ("fewer rows than announced", GOOD[:2], "3 rows"),
    ("more rows than announced", [*GOOD, rows_part([12])], "3 rows"),
    ("rows in another order", [GOOD[0], rows_part([4]), rows_part([1, 9])], "ascending rows"),
    ("a row twice", [GOOD[0], rows_part([1, 1, 9])], "ascending rows"),
    ("a row out of range", [GOOD[0], rows_part([1, 4, 15])], "ascending rows"),
    ("a negative row", [GOOD[0], rows_part([-1, 4, 9])], "ascending rows"),
    ("an empty part", [GOOD[0], rows_part([])], "1 to 87381 rows of 2 values"),
    ("rows of another width", [GOOD[0], rows_part(IDS, dim=3)], "1 to 87381 rows of 2 values"),
    ("a value that is not finite", [GOOD[0], rows_part(IDS, value=np.inf)], "finite values"),
    ("another value", [GOOD[0], rows_part(IDS, value=0.25)], f"model {DIGEST.hex()}"),
    ("another row", [GOOD[0], rows_part([1, 4, 10])], f"model {DIGEST.hex()}"),
    ("another step", [header(3, step=3, digest=DIGEST), *GOOD[1:]], f"model {DIGEST.hex()}"),
]


@pytest.mark.parametrize(
    ("parts", "expected"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_what_is_not_the_model_is_refused_and_not_kept(
    tmp_path: Path, parts: Parts, expected: str
) -> None:
    with pytest.raises(ProtocolError, match="is not the trained model") as refused:
        received(ONE, tmp_path / "m", Shard(parts))
    assert refused.value.expected.startswith(expected)
    assert list(tmp_path.iterdir()) == []


def test_rows_of_another_shard_are_refused(tmp_path: Path) -> None:
    owners = Sharding(900, 2).owners(np.arange(900, dtype=np.int32))
    of_one = int(np.flatnonzero(owners == 1)[0])
    lead = Shard([header(1, digest=DIGEST), rows_part([of_one])])
    with pytest.raises(ProtocolError) as refused:
        received(TWO, tmp_path / "m", lead, Shard([header(0)]))
    assert refused.value.expected == "rows of shard 0"


def test_shards_at_different_steps_are_refused(tmp_path: Path) -> None:
    lead = Shard([header(0, digest=DIGEST)])
    with pytest.raises(ProtocolError) as refused:
        received(TWO, tmp_path / "m", lead, Shard([header(0, step=1)]))
    assert (refused.value.expected, refused.value.seen) == ("step 2", "step 1")


@given(
    owners=st.lists(st.integers(0, 3), max_size=60),
    sizes=st.lists(st.integers(1, 7), min_size=4, max_size=4),
)
def test_several_ascending_streams_become_one(owners: list[int], sizes: list[int]) -> None:
    ids = np.arange(len(owners), dtype=np.int32)
    values = ids[:, None].astype(np.float32)

    def pieces(stream: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        own = ids[np.array(owners, int) == stream]
        for start in range(0, own.size, sizes[stream]):
            piece = own[start : start + sizes[stream]]
            yield piece, values[piece]

    got = list(merged([pieces(stream) for stream in range(4)]))
    together = np.concatenate([i for i, _ in got]) if got else np.zeros(0, np.int32)
    assert together.tolist() == ids.tolist()
    assert all(v[:, 0].tolist() == i.tolist() for i, v in got)
