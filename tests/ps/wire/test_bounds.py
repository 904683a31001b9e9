"""Bounds on messages: one row per refusal, with the field and both values in its text."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from coterie.contract import Contract
from coterie.errors import MessageRefused
from coterie.metrics.histogram import MAX_GROUPS, SUMS
from coterie.ps.wire import ps_pb2 as pb
from coterie.ps.wire.bounds import EVALUATION_BATCH, PART_BYTES, MessageBounds, max_message_bytes
from coterie.ps.wire.frames import ExchangeReply, ExchangeRequest, Push

EXAMPLES = 3


@pytest.fixture
def bounds(make_contract: Callable[..., Contract]) -> MessageBounds:
    return MessageBounds(make_contract(batch=4))


def ids(*rows: int) -> bytes:
    return np.array(rows, "<i4").tobytes()


def floats(*values: float) -> bytes:
    return np.array(values, "<f4").tobytes()


def push(**fields: bytes | float) -> Push:
    """A right push of three examples that touch the rows 1, 5 and 14, with some fields changed."""
    right = Push(
        examples=EXAMPLES,
        loss_sum=1.5,
        correct=2,
        dense_gradient=floats(*range(15)),
        row_ids=ids(1, 5, 14),
        row_gradients=floats(*range(6)),
    )
    return dataclasses.replace(right, **fields)  # type: ignore[arg-type]


def test_a_right_push_is_decoded(bounds: MessageBounds) -> None:
    gradients = bounds.push(push(), examples=EXAMPLES)
    assert gradients.examples == EXAMPLES
    assert gradients.loss_sum == 1.5
    assert gradients.correct == 2
    assert gradients.dense_p.tolist() == list(range(15))
    assert gradients.row_ids_u.tolist() == [1, 5, 14]
    assert gradients.rows_ud.tolist() == [[0, 1], [2, 3], [4, 5]]


def test_rows_are_as_wide_as_their_values_and_what_local_optimizers_keep(
    make_contract: Callable[..., Contract],
) -> None:
    local = {"dense": {}, "rows": {"kind": "rowwise_adagrad"}}
    contract = make_contract(batch=4, local_steps=2, local=local)
    wide = MessageBounds(contract).push(push(row_gradients=floats(*range(9))), examples=EXAMPLES)
    assert wide.rows_ud.shape == (3, 3)
    with pytest.raises(MessageRefused, match=r"push\.row_gradients is out of bounds"):
        MessageBounds(contract).push(push(), examples=EXAMPLES)
    with_sums = make_contract(
        batch=4, local_steps=2, local={"dense": {"kind": "adagrad"}, "rows": {}}
    )
    whole = push(dense_gradient=floats(*range(30)))
    assert MessageBounds(with_sums).push(whole, examples=EXAMPLES).dense_p.size == 30
    with pytest.raises(MessageRefused, match=r"push\.dense_gradient is out of bounds"):
        MessageBounds(with_sums).push(push(), examples=EXAMPLES)
    initial = floats(*range(15))
    assert MessageBounds(with_sums).dense(initial, name="dense_parameters").size == 15
    assert max_message_bytes(contract) >= max_message_bytes(make_contract(batch=8))


def test_a_push_may_touch_no_row(bounds: MessageBounds) -> None:
    gradients = bounds.push(push(row_ids=b"", row_gradients=b""), examples=EXAMPLES)
    assert gradients.rows_ud.shape == (0, 2)


NOT_FINITE = "2 of 15 are NaN or infinite"
# (what is changed, the error's sentence, expected, seen)
REFUSED_PUSHES: list[tuple[dict[str, bytes | float], str, str, str]] = [
    ({"examples": 2}, "push.examples is out of bounds", "3 by the schedule", "2"),
    ({"examples": 4}, "push.examples is out of bounds", "3 by the schedule", "4"),
    ({"examples": 0}, "push.examples is out of bounds", "3 by the schedule", "0"),
    ({"loss_sum": float("nan")}, "push.loss_sum is out of bounds", "0 to 3e+06", "nan"),
    ({"correct": 4}, "push.correct is out of bounds", "0 to 3", "4"),
    # of one party's step: its value is nobody else's
    (
        {"loss_sum": 3.1e6},
        "push.loss_sum is out of bounds",
        "0 to 3e+06",
        "a number out of bounds",
    ),
    ({"loss_sum": float("-inf")}, "push.loss_sum is out of bounds", "0 to 3e+06", "-inf"),
    (
        {"dense_gradient": floats(*range(14))},
        "push.dense_gradient is out of bounds",
        "what packing makes of 15 float32 values (60 bytes)",
        "56 bytes that it does not make",
    ),
    (
        {"dense_gradient": floats(*range(15)) + b"\0"},
        "push.dense_gradient is out of bounds",
        "15 float32 values (60 bytes)",
        "61 bytes",
    ),
    (
        {"dense_gradient": b""},
        "push.dense_gradient is out of bounds",
        "what packing makes of 15 float32 values (60 bytes)",
        "0 bytes that it does not make",
    ),
    (
        {"dense_gradient": floats(1, float("inf")) + b"\5\0"},
        "push.dense_gradient holds values that are not finite",
        "finite float32 values",
        "1 of 15 are NaN or infinite",
    ),
    (
        {"dense_gradient": floats(float("nan"), float("inf"), *range(13))},
        "push.dense_gradient holds values that are not finite",
        "finite float32 values",
        NOT_FINITE,
    ),
    (
        {"row_gradients": floats(*range(5))},
        "push.row_gradients is out of bounds",
        "6 float32 values (24 bytes)",
        "20 bytes",
    ),
    (
        {"row_gradients": floats(*range(8))},
        "push.row_gradients is out of bounds",
        "6 float32 values (24 bytes)",
        "32 bytes",
    ),
    (
        {"row_gradients": floats(0, 1, 2, float("-inf"), 4, 5)},
        "push.row_gradients holds values that are not finite",
        "finite float32 values",
        "1 of 6 are NaN or infinite",
    ),
    (
        {"row_gradients": floats(0, 1, 2, 3, 4, float("nan"))},
        "push.row_gradients holds values that are not finite",
        "finite float32 values",
        "1 of 6 are NaN or infinite",
    ),
    (
        {"row_ids": ids(1, 14, 5)},
        "push.row_ids is out of bounds",
        "strictly ascending ids",
        "another order or duplicates",
    ),
    (
        {"row_ids": ids(1, 5, 5)},
        "push.row_ids is out of bounds",
        "strictly ascending ids",
        "another order or duplicates",
    ),
    ({"row_ids": ids(1, 5, 15)}, "push.row_ids is out of bounds", "ids in 0 .. 14", "1 .. 15"),
    ({"row_ids": ids(-1, 5, 14)}, "push.row_ids is out of bounds", "ids in 0 .. 14", "-1 .. 14"),
    ({"row_ids": b"\0" * 13}, "push.row_ids is out of bounds", "at most 9 int32 ids", "13 bytes"),
    (
        {"row_ids": ids(*range(13))},
        "push.row_ids is out of bounds",
        "at most 9 int32 ids",
        "52 bytes",
    ),
]


@pytest.mark.parametrize(
    ("changed", "what", "expected", "seen"),
    REFUSED_PUSHES,
    ids=[f"{next(iter(row[0]))}: {row[3]}" for row in REFUSED_PUSHES],
)
def test_a_wrong_push_is_refused_by_the_name_of_its_field(
    bounds: MessageBounds, changed: dict[str, bytes | float], what: str, expected: str, seen: str
) -> None:
    with pytest.raises(MessageRefused) as refused:
        bounds.push(push(**changed), examples=EXAMPLES)
    error = refused.value
    assert (error.what, error.expected, error.seen) == (what, expected, seen)
    assert error.remedy


def test_out_of_range_ids_in_the_middle_cannot_be_ascending(bounds: MessageBounds) -> None:
    """The range check looks at both ends only: what lies between is bounded by the order."""
    with pytest.raises(MessageRefused, match="row_ids"):
        bounds.row_ids(ids(1, 2_000_000_000, 14), examples=4, name="row_ids")


@functools.cache
def _bounds() -> MessageBounds:
    """As the fixture, once for all of Hypothesis's examples."""
    columns = {"categorical": ["C1", "C2", "C3"], "column_rows": {"C1": 4, "C2": 5, "C3": 6}}
    trust = {"measurement": "own", "accepted_tcb_statuses": ["UpToDate"]}
    return MessageBounds(
        Contract.model_validate(
            {
                "format": 1,
                "name": "small",
                "mode": "hfl",
                "parties": [{"name": "p"}],
                "nodes": [
                    {"name": "ps0", "role": "ps", "party": "p"},
                    {"name": "w0", "role": "worker", "party": "p"},
                ],
                "data": {"numeric": ["I1", "I2"], **columns},
                "model": {"embedding_dim": 2, "bottom": [2], "top": [1]},
                "training": {"batch": 4},
                "trust": {"tee": "simulated", "roles": {"ps": trust, "worker": trust}},
            }
        )
    )


@given(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=16))
def test_only_sorted_unique_rows_in_range_are_taken(rows: list[int]) -> None:
    good = rows == sorted(set(rows)) and all(0 <= row < 15 for row in rows) and len(rows) <= 12
    if good:
        assert _bounds().row_ids(ids(*rows), examples=4, name="x").tolist() == rows
    else:
        with pytest.raises(MessageRefused):
            _bounds().row_ids(ids(*rows), examples=4, name="x")


@given(st.binary(max_size=80))
def test_any_bytes_are_finite_parameters_or_refused(octets: bytes) -> None:
    good = len(octets) == 60 and bool(np.isfinite(np.frombuffer(octets, "<f4")).all())
    if good:
        assert _bounds().dense(octets, name="x").tobytes() == octets
    else:
        with pytest.raises(MessageRefused):
            _bounds().dense(octets, name="x")


def test_no_more_ids_are_asked_for_than_the_tables_have_rows(bounds: MessageBounds) -> None:
    assert bounds.row_ids(ids(*range(15)), examples=1_000, name="x").size == 15


def largest_exchange(contract: Contract) -> Sequence[int]:
    """Sizes of the largest push and reply that a contract's batch allows."""
    dense = 4 * sum(p.size for p in contract.model.dense_parameters(contract.data))
    rows = min(
        contract.training.step_examples * len(contract.data.categorical), contract.data.total_rows
    )
    width = contract.model.embedding_dim
    request = ExchangeRequest(
        ps_incarnation=2**63,
        step=2**63,
        push=Push(
            examples=2**31,
            loss_sum=1.0,
            dense_gradient=bytes(dense),
            row_ids=bytes(4 * rows),
            row_gradients=bytes(4 * rows * width),
        ),
        next_row_ids=bytes(4 * rows),
    )
    reply = ExchangeReply(
        step=2**63,
        dense_parameters=bytes(dense),
        rows=bytes(4 * rows * width),
        durable=pb.Checkpoint(step=2**63, digest=bytes(32)),
    )
    return len(b"".join(request.encode())), len(b"".join(reply.encode()))


@pytest.mark.parametrize("batch", [1, 128, 65_536])
def test_every_exchange_fits_into_the_largest_message(
    make_contract: Callable[..., Contract], batch: int
) -> None:
    contract = make_contract(batch=batch)
    assert max(largest_exchange(contract)) <= max_message_bytes(contract)


def test_every_lookup_fits_into_the_largest_message(
    make_contract: Callable[..., Contract],
) -> None:
    contract = make_contract()
    rows = min(EVALUATION_BATCH * 3, 15)
    assert pb.LookupRequest(row_ids=bytes(4 * rows)).ByteSize() <= max_message_bytes(contract)
    reply = pb.LookupReply(dense_parameters=bytes(60), rows=bytes(8 * rows))
    assert reply.ByteSize() <= max_message_bytes(contract)


def test_every_report_fits_into_the_largest_message(
    make_contract: Callable[..., Contract],
) -> None:
    counts = pb.EvaluationCounts(
        split="validation",
        starts=bytes(4 * MAX_GROUPS),
        levels=bytes(MAX_GROUPS),
        counts=bytes(16 * MAX_GROUPS),
        sums=bytes(8 * SUMS),
    )
    report = pb.ReportRequest(ps_incarnation=2**63, counts=[counts, counts])
    assert report.ByteSize() <= max_message_bytes(make_contract())


def test_every_delivery_fits_into_the_largest_message(
    make_contract: Callable[..., Contract],
) -> None:
    part = pb.DeliverRequest(records=bytes(PART_BYTES))
    assert part.ByteSize() <= max_message_bytes(make_contract())


# gRPC's and protobuf's limits are below 2 GiB; a contract beyond them is accepted.
def test_a_valid_contracts_messages_can_be_sent(make_contract: Callable[..., Contract]) -> None:
    contract = make_contract()
    wide = {"embedding_dim": 1024, "bottom": [65_536, 65_536, 1024], "top": [1]}
    try:
        large = Contract.model_validate({**contract.model_dump(), "model": wide})
    except ValidationError:
        return
    assert max_message_bytes(large) < 2**31
