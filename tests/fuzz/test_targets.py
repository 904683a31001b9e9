"""What is fuzzed runs by itself on its seeds, without a finding; the fuzzer is no dependency of the tests."""

from __future__ import annotations

import re

import pytest

from coterie.tensorflow.calls.http2 import PREFACE, Budget, CallReader
from fuzz.seeds import seeds
from fuzz.targets import TARGETS
from fuzz.tensorflow_calls import METHODS
from tests.conftest import REPOSITORY

README = REPOSITORY / "fuzz" / "README.md"


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.tensorflow if "tensorflow" in name else ())
        for name in TARGETS
    ],
)
def test_every_target_takes_its_seeds(name: str) -> None:
    found = list(seeds(name))
    assert found
    for seed in found:
        TARGETS[name].run(seed)


@pytest.mark.tensorflow
def test_seeds_of_calls_are_calls_that_are_accepted() -> None:
    """So that a fuzzer begins behind the first check."""
    chosen = [(sorted(METHODS)[seed[0]], seed[1:]) for seed in seeds("tensorflow-requests")]
    assert {path for path, _ in chosen} == set(METHODS)
    for path, message in chosen:
        METHODS[path].judge(message)
    for said in seeds("tensorflow-frames"):
        reader = CallReader("w1", METHODS, Budget(1 << 20))
        assert b"".join(reader.feed(PREFACE + said)) == PREFACE + said


def test_the_page_lists_every_target() -> None:
    assert sorted(re.findall(r"^\| `([a-z-]+)` \|", README.read_text(), re.MULTILINE)) == sorted(
        TARGETS
    )
