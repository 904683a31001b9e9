"""A node has descriptors for itself, whatever strangers hold at its ports."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

import pytest

from coterie.errors import EnvironmentUnfit
from coterie.nodes.attested import descriptors_needed
from coterie.nodes.descriptors import OWN, make_room
from coterie.ratls.transport import ConnectionLimits, ListenerLimits
from tests.conftest import REPOSITORY
from tests.ratls.conftest import World


def test_the_soft_limit_is_raised() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, hard), hard))
        make_room(256)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_what_strangers_and_nodes_may_hold_is_counted() -> None:
    contract = World().contract
    strangers = ListenerLimits().pending + ConnectionLimits().unproved
    nodes = ConnectionLimits().per_peer * len(contract.nodes)
    assert strangers + nodes + OWN <= descriptors_needed(contract) < 1024


@pytest.mark.system
@pytest.mark.parametrize(("limit", "said"), [(300, "enough"), (299, "EnvironmentUnfit 299")])
def test_a_hard_limit_that_is_too_low_is_refused(limit: int, said: str) -> None:
    script = (
        "import resource\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {limit}))\n"
        "from coterie.errors import EnvironmentUnfit\n"
        "from coterie.nodes.descriptors import make_room\n"
        "try:\n"
        "    make_room(300)\n"
        "    print('enough')\n"
        "except EnvironmentUnfit as error:\n"
        "    print('EnvironmentUnfit', error.seen)\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY}/src"},
    )
    assert finished.stdout.strip() == said


def test_the_refusal_says_what_to_do() -> None:
    with pytest.raises(EnvironmentUnfit, match="too few files and connections") as refused:
        make_room(1 << 62)
    assert "ulimit -n" in refused.value.remedy
