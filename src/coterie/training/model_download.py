"""Downloads the trained model to a node of a party that receives it; bounds and checks every part.

The optimizers' state is downloaded in the same way, if the contract gives it out.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial

import numpy as np

from coterie.arrays import FloatArray, IdArray
from coterie.contract import Contract
from coterie.errors import ProtocolError, RollbackRefused
from coterie.parameters.sharding import Sharding
from coterie.ps.core.state import state_sizes
from coterie.ps.model_download import rows_per_part
from coterie.ps.wire import ps_pb2 as pb
from coterie.trained.model_file import ModelWriter, Target, model_file_bytes
from coterie.trained.optimizer_state import StateWriter, state_file_bytes
from coterie.training.client import ServerClient

Piece = tuple[IdArray, FloatArray]
Stream = Iterator[pb.DownloadPart]

_DIGEST_BYTES = 32


_refused = partial(ProtocolError, "what the parameter server sent is not the trained model")


def receive_model(
    session: ServerClient,
    contract: Contract,
    writing: Callable[[int], AbstractContextManager[Target]],
) -> bytes:
    """Downloads the trained model from all shards after the run's outcome was made.

    Starts again whenever a server is lost during the download.

    Args:
        session: Client of the parameter server.
        contract: Gives the bounds.
        writing: Opens the target, given the model's size in bytes; its content is valid only if the
            context ends without an error.

    Returns:
        The digest of the written model, 32 bytes; the server named the same.

    Raises:
        CallRefused: This node does not receive the model.
        RollbackRefused: The server has the model of another run than the one that was joined.
        ProtocolError: The received model is not the one that the server named.
        CoterieError: The server cannot be reached any more, or the model cannot be written.
    """
    return session.through_restarts(lambda _: _receive(session, contract, writing))


def receive_optimizer_state(
    session: ServerClient,
    contract: Contract,
    writing: Callable[[int], AbstractContextManager[Target]],
    model: bytes,
) -> bytes:
    """Downloads the optimizers' state, as ``receive_model`` does the model.

    Args:
        session: Client of the parameter server.
        contract: Gives the bounds.
        writing: Opens the target, given the state's size in bytes.
        model: Digest of the model that it belongs to, 32 bytes.

    Returns:
        The digest of the written state, 32 bytes; the server named the same.

    Raises:
        CoterieError: As for ``receive_model``.
    """
    return session.through_restarts(lambda _: _receive_state(session, contract, writing, model))


def _receive(
    session: ServerClient,
    contract: Contract,
    writing: Callable[[int], AbstractContextManager[Target]],
) -> bytes:
    dense = sum(p.size for p in contract.model.dense_parameters(contract.data))
    coming = _Coming(session, contract, dense, contract.model.embedding_dim)
    rows, step = coming.rows, coming.step
    with writing(model_file_bytes(contract, rows)) as target:
        writer = ModelWriter(target, contract, steps=step, dense_p=coming.dense, rows=rows)
        for row_ids, values in coming.pieces():
            writer.append(row_ids, values)
        digest = writer.finish()
        coming.check(digest)
    return digest


def _receive_state(
    session: ServerClient,
    contract: Contract,
    writing: Callable[[int], AbstractContextManager[Target]],
    model: bytes,
) -> bytes:
    dense, width = state_sizes(contract)
    coming = _Coming(session, contract, dense, width, state=True)
    rows = coming.rows
    with writing(state_file_bytes(dense, rows, width)) as target:
        writer = StateWriter(
            target,
            model,
            updates=coming.step - contract.updates_before + contract.optimizer_updates_before,
            dense_state=coming.dense,
            width=width,
            rows=rows,
        )
        for row_ids, state in coming.pieces():
            writer.append(row_ids, state)
        digest = writer.finish()
        coming.check(digest)
    return digest


class _Coming:
    """The parts that all shards send, after their headers.

    Args:
        session: Client of the parameter server.
        contract: Gives the bounds.
        dense: Number of scalars for the dense parameters.
        width: Number of scalars for each row.
        state: Whether the parts are of the optimizers' state instead of the model.
    """

    def __init__(
        self,
        session: ServerClient,
        contract: Contract,
        dense: int,
        width: int,
        *,
        state: bool = False,
    ) -> None:
        sharding = Sharding(contract.data.total_rows, len(contract.by_role("ps")))
        self._parts = [
            _ShardPart(width, sharding, shard, *_opened(start, session.waited))
            for shard, start in enumerate(session.downloads(optimizer_state=state))
        ]
        lead = self._parts[0].header
        self.dense = _dense(dense, lead)
        self.step: int = lead.step
        self._digest = lead.model_digest
        if len(self._digest) != _DIGEST_BYTES:
            raise _refused("a digest of 32 bytes", f"{len(self._digest)} bytes")
        for part in self._parts:
            if part.header.run_id != session.run_id:
                raise _other_run(session.run_id, part.header.run_id)
            if part.header.step != lead.step:
                raise _refused(f"step {lead.step}", f"step {part.header.step}")
        self.rows = sum(part.header.rows for part in self._parts)
        if self.rows > contract.data.total_rows:
            raise _refused(f"at most {contract.data.total_rows} rows", f"{self.rows}")

    def pieces(self) -> Iterator[Piece]:
        """The rows of all shards, ascending."""
        return merged([part.pieces() for part in self._parts])

    def check(self, digest: bytes) -> None:
        """Compares the digest of the written file with the one that the server named."""
        if not hmac.compare_digest(digest, self._digest):
            raise _refused(f"model {self._digest.hex()}", f"model {digest.hex()}")


def _opened(
    start: Callable[[], Stream], waited: Callable[[], None]
) -> tuple[pb.ModelHeader, Stream]:
    """Waits for a shard's header; returns it with the rest of the stream."""
    while True:
        stream = start()
        first = next(stream, None)
        if first is None or first.WhichOneof("part") not in {"pending", "header"}:
            raise _refused("a header", "something else")
        if first.WhichOneof("part") == "header":
            return first.header, stream
        waited()


class _ShardPart:
    """The part that one shard sends."""

    def __init__(
        self,
        width: int,
        sharding: Sharding,
        shard: int,
        header: pb.ModelHeader,
        stream: Stream,
    ) -> None:
        self.header = header
        self._stream = stream
        self._sharding = sharding
        self._shard = shard
        self._total_rows = sharding.rows
        self._dim = width

    def pieces(self) -> Iterator[Piece]:
        """The shard's rows, in ascending pieces."""
        missing, last = self.header.rows, -1
        for part in self._stream:
            if part.WhichOneof("part") != "rows":
                raise _refused("rows", "something else")
            piece = self._piece(part.rows, last)
            missing -= piece[0].size
            if missing < 0:
                break
            last = int(piece[0][-1])
            yield piece
        if missing:
            raise _refused(f"{self.header.rows} rows", f"{self.header.rows - missing}")

    def _piece(self, rows: pb.ModelRows, last: int) -> Piece:
        count, rest = divmod(len(rows.row_ids), 4)
        most = rows_per_part(self._dim)
        if rest or not 0 < count <= most or len(rows.values) != 4 * count * self._dim:
            raise _refused(f"1 to {most} rows of {self._dim} values", f"{len(rows.values)} bytes")
        ids = np.frombuffer(rows.row_ids, "<i4")
        values = np.frombuffer(rows.values, "<f4").reshape(count, self._dim)
        if ids[0] <= last or ids[-1] >= self._total_rows or not np.all(ids[1:] > ids[:-1]):
            raise _refused("ascending rows of the table", f"{ids[0]} .. {ids[-1]} after {last}")
        if not np.all(self._sharding.owners(ids) == self._shard):
            raise _refused(f"rows of shard {self._shard}", "another shard's")
        if not np.isfinite(values).all():
            raise _refused("finite values", "values that are not")
        return ids, values


def merged(streams: list[Iterator[Piece]]) -> Iterator[Piece]:
    """Merges streams of ascending, disjoint rows into one ascending stream."""
    if len(streams) == 1:
        yield from streams[0]
        return
    heads = {index: piece for index, s in enumerate(streams) if (piece := next(s, None))}
    while heads:
        # No stream has a later piece with a row up to this one.
        limit = min(int(ids[-1]) for ids, _ in heads.values())
        taken: list[Piece] = []
        for index, (ids, values) in list(heads.items()):
            end = int(np.searchsorted(ids, limit, side="right"))
            taken.append((ids[:end], values[:end]))
            if end < ids.size:
                heads[index] = (ids[end:], values[end:])
            elif (piece := next(streams[index], None)) is not None:
                heads[index] = piece
            else:
                del heads[index]
        together = np.concatenate([ids for ids, _ in taken])
        order = np.argsort(together, kind="stable")
        yield together[order], np.concatenate([values for _, values in taken])[order]


def _dense(count: int, header: pb.ModelHeader) -> FloatArray:
    if len(header.dense_parameters) != 4 * count:
        raise _refused(f"{count} dense parameters", f"{len(header.dense_parameters)} bytes")
    dense_p = np.frombuffer(header.dense_parameters, "<f4")
    if not np.isfinite(dense_p).all():
        raise _refused("finite dense parameters", "values that are not")
    return dense_p


def _other_run(expected: str, seen: str) -> RollbackRefused:
    return RollbackRefused(
        "the parameter server sends the model of another run than the one that this node took part in",
        expected=f"run {expected}",
        seen=f"run {seen[:64]}",
        remedy="start every parameter server with the folder that it had in that run",
    )
