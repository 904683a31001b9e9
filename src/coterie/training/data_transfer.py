"""SDT's data path: the chief divides its training examples among the workers and streams them.

Worker i of n gets the examples i, i + n, i + 2n, ... The workers' batches of a step then form a run
of consecutive examples, whatever the number of workers.
"""

from __future__ import annotations

import hashlib
import hmac
import threading
from collections.abc import Iterable, Iterator
from functools import partial

from coterie.contract import DataSection, data_digest
from coterie.data.examples import Examples, ExamplesBuilder, record_bytes
from coterie.errors import CoterieError, DataSetMismatch, MessageRefused, PeerUnreachable
from coterie.ps.caller import Caller
from coterie.ps.ports import DataReceiverPort
from coterie.ps.wire import ps_pb2 as pb
from coterie.ps.wire.bounds import PART_BYTES

MAX_EXAMPLES = 2**31


_refused = partial(MessageRefused, "the delivered part was refused")


def part_messages(examples: Examples, worker: int, workers: int) -> Iterator[pb.DeliverRequest]:
    """A worker's part of the examples as messages: a header, then records.

    Args:
        examples: The chief's training examples.
        worker: Place of the worker in contract order.
        workers: Number of workers.
    """
    width = record_bytes(examples.data)
    count = len(range(worker, examples.rows, workers))
    stride = max(1, PART_BYTES // width) * workers

    def pieces() -> Iterator[bytes]:
        for start in range(worker, examples.rows, stride):
            yield examples.records(start, min(start + stride, examples.rows), workers)

    digest = hashlib.sha256()
    for piece in pieces():
        digest.update(piece)
    header = pb.ShardHeader(
        examples=count,
        record_bytes=width,
        data_digest=data_digest(examples.data),
        sha256=digest.digest(),
    )
    yield pb.DeliverRequest(header=header)
    for piece in pieces():
        yield pb.DeliverRequest(records=piece)


class DataInbox:
    """A worker's receiving side: holds its part in memory once all of it was received and checked.

    Args:
        data: The contract's data section.
        max_bytes: Size of the largest part that is accepted.
        poll_seconds: How long a call waits before it answers ``pending``.
    """

    def __init__(self, data: DataSection, *, max_bytes: int, poll_seconds: float = 10.0) -> None:
        self._data = data
        self._max_bytes = max_bytes
        self._poll_seconds = poll_seconds
        self._closed = threading.Event()
        self._arrived = threading.Event()  # set once there is a part or a failure
        # Guards the part and the failure.
        self._lock = threading.Lock()
        self._examples: Examples | None = None
        self._failure: CoterieError | None = None
        self._digest = b""

    @DataReceiverPort.watch.serves
    def watch(self, _caller: Caller, request: pb.WatchRequest) -> pb.WatchReply:
        """Returns whether the part is still needed; may wait a while before it returns False.

        A process needs its part once. The chief learns from the lost connection that the process
        has ended, and then asks the next process.
        """
        if request.wait and self._arrived.is_set():
            self._closed.wait(self._poll_seconds)
        return pb.WatchReply(pending=self._arrived.is_set())

    def close(self) -> None:
        """Ends waiting calls before the process ends."""
        self._closed.set()

    @DataReceiverPort.deliver.serves
    def deliver(self, _caller: Caller, parts: Iterable[pb.DeliverRequest]) -> pb.DeliverReply:
        """Receives a part. A part that arrives again must be the same, and replaces nothing.

        Raises:
            MessageRefused: A part is missing, too large, out of order or altered.
            DataSetMismatch: The part was prepared under another data section.
        """
        stream = iter(parts)
        header = self._header(next(stream, None))
        builder = ExamplesBuilder(self._data, header.examples)
        digest = hashlib.sha256()
        for part in stream:
            if part.WhichOneof("part") != "records" or len(part.records) > PART_BYTES:
                raise _refused(f"parts of at most {PART_BYTES} bytes", "another message")
            digest.update(part.records)
            builder.add(part.records)
        examples = builder.finish()
        if not hmac.compare_digest(digest.digest(), header.sha256):
            raise _refused(f"SHA-256 {header.sha256.hex()}", digest.hexdigest())
        with self._lock:
            if self._examples is not None and self._digest != digest.digest():
                raise _refused("the part that came first", "another one")
            if self._examples is None:
                self._examples, self._digest = examples, digest.digest()
        self._arrived.set()
        return pb.DeliverReply(examples=examples.rows, sha256=digest.digest())

    def fail(self, error: CoterieError) -> None:
        """Ends the wait with ``error``, unless the part has arrived."""
        with self._lock:
            self._failure = error
        self._arrived.set()

    def arrived(self, seconds: float) -> bool:
        """Waits a while for a part or a failure; returns whether ``wait`` would return at once."""
        return self._arrived.wait(seconds)

    def wait(self, seconds: float) -> tuple[Examples, bytes]:
        """Waits for the part.

        Returns:
            The part and the SHA-256 of its records.

        Raises:
            PeerUnreachable: No part arrived in time.
            CoterieError: The run failed meanwhile.
        """
        arrived = self._arrived.wait(seconds)
        if self._examples is None and self._failure is not None:
            raise self._failure
        if not arrived or self._examples is None:
            raise PeerUnreachable(
                "the chief delivered no training data",
                expected="the worker's part within the contract's limits.join_seconds",
                seen="nothing",
            )
        return self._examples, self._digest

    def _header(self, first: pb.DeliverRequest | None) -> pb.ShardHeader:
        if first is None or first.WhichOneof("part") != "header":
            raise _refused("a header first", "another message")
        header = first.header
        if header.data_digest != data_digest(self._data):
            expected, seen = data_digest(self._data), header.data_digest[:32]
            raise DataSetMismatch.other_section("the delivered part", expected, seen)
        width = record_bytes(self._data)
        if header.record_bytes != width:
            raise _refused(f"records of {width} bytes", f"{header.record_bytes} bytes")
        limit = min(MAX_EXAMPLES, self._max_bytes // width)
        if not 0 < header.examples <= limit:
            raise _refused(f"1 to {limit} examples", str(header.examples))
        return header
