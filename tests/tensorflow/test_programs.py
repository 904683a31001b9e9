"""The examples' programs refuse what they cannot do before they reach anybody."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

pytestmark = [pytest.mark.system, pytest.mark.long]


@pytest.mark.parametrize(
    ("program", "role"), [("dlrm_between_graph.py", "worker"), ("dlrm_in_graph.py", "chief")]
)
def test_scores_need_examples(program: str, role: str) -> None:
    config = {"cluster": {role: ["127.0.0.1:1"]}, "task": {"type": role, "index": 0}}
    ran = subprocess.run(
        [sys.executable, REPOSITORY / "examples" / "tensorflow" / program, "--scores", "scores"],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "TF_CONFIG": json.dumps(config)},
        check=False,
    )
    assert ran.returncode == 2
    assert ran.stderr.splitlines()[-1] == (
        f"{program}: error: --scores needs test examples: give the run --data"
    )
