"""The native part under sanitizers: a fuzzing peer cuts, delays, merges, changes, resets and half-closes.

``python -m faults.native_part`` runs the same for longer. What a round is: `native/harness.c`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from faults.native_part import SANITIZERS, build_harness, run_harness

pytestmark = [pytest.mark.system, pytest.mark.slow]


@pytest.mark.parametrize("sanitizers", SANITIZERS)
def test_no_byte_no_descriptor_and_no_race(
    sanitizers: str, native_part: None, tmp_path: Path
) -> None:
    harness = build_harness(sanitizers, tmp_path)
    rounds = 250 if sanitizers == "address,undefined" else 60
    said = run_harness(harness, rounds=rounds, seed=1, most_bytes=150_000, processes=4)
    assert said == [f"{rounds} connections, seed {s}: no byte and no descriptor lost" for s in
                    range(1, 4 * rounds + 1, rounds)]  # fmt: skip
