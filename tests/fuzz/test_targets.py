"""What is fuzzed runs by itself on its seeds, without a finding; the fuzzer is no dependency of the tests."""

from __future__ import annotations

import re

import pytest

from fuzz.seeds import seeds
from fuzz.targets import TARGETS
from tests.conftest import REPOSITORY

README = REPOSITORY / "fuzz" / "README.md"


@pytest.mark.parametrize("name", TARGETS)
def test_every_target_takes_its_seeds(name: str) -> None:
    found = list(seeds(name))
    assert found
    for seed in found:
        TARGETS[name].run(seed)


def test_the_page_lists_every_target() -> None:
    assert sorted(re.findall(r"^\| `([a-z-]+)` \|", README.read_text(), re.MULTILINE)) == sorted(
        TARGETS
    )
