"""What tests of evidence share: of many changes, all of them or a sample."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

Sampled = Callable[[Iterable[tuple[int, int]], int], list[tuple[int, int]]]


@pytest.fixture
def sampled(*, exhaustive: bool) -> Sampled:
    """Of many changes all, or every so many'th."""

    def sample(everything: Iterable[tuple[int, int]], every: int) -> list[tuple[int, int]]:
        return list(everything)[:: 1 if exhaustive else every]

    return sample
