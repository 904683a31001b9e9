"""Errors cross gRPC as what they were, bounded."""

from __future__ import annotations

import json

import grpc
import pytest

from coterie import errors
from coterie.errors import CoterieError, EvidenceRefused, StepRefused
from coterie.ratls.wire_errors import ERROR_KEY, error_metadata, error_of, status_code


class Failed(grpc.RpcError):
    """What a stub raises, with trailing metadata."""

    def __init__(self, *metadata: tuple[str, str | bytes]) -> None:
        super().__init__()
        self._metadata = metadata

    def trailing_metadata(self) -> tuple[tuple[str, str | bytes], ...]:  # type: ignore[override]  # the stub errs
        return self._metadata


ALL = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, CoterieError)
]


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_error_of_the_tree_comes_back_as_itself(kind: type[CoterieError]) -> None:
    words = {"expected": "e", "seen": "s", "remedy": "r"}
    error = (
        kind("check", "what", **words)
        if issubclass(kind, EvidenceRefused)
        else kind("what", **words)
    )

    again = error_of(Failed(*error_metadata(error)))

    assert type(again) is kind
    assert again.to_dict() == error.to_dict()
    assert status_code(error) is not grpc.StatusCode.OK


def test_long_texts_are_cut() -> None:
    error = StepRefused("w" * 10_000, expected="e" * 10_000, seen="s" * 10_000, remedy="r" * 10_000)

    metadata = error_metadata(error)

    assert len(metadata[0][1]) < 4096
    again = error_of(Failed(*metadata))
    assert isinstance(again, StepRefused)
    assert again.what.endswith("...")


@pytest.mark.parametrize(
    "metadata",
    [
        (),
        (("other", b"{}"),),
        ((ERROR_KEY, "text"),),
        ((ERROR_KEY, b"{"),),
        ((ERROR_KEY, b"[]"),),
        ((ERROR_KEY, b"[" * 4000),),
        ((ERROR_KEY, b'{"error": 1}'),),
        ((ERROR_KEY, b'{"error": "SystemExit", "what": "x"}'),),
        ((ERROR_KEY, json.dumps({"error": "StepRefused", "what": "x" * 5000}).encode()),),
    ],
)
def test_what_is_not_readable_is_no_error_of_the_tree(
    metadata: tuple[tuple[str, str | bytes], ...],
) -> None:
    assert error_of(Failed(*metadata)) is None
