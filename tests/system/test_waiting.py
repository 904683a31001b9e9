"""A node that dials in vain says so at once, and not only when TensorFlow is ready."""

from __future__ import annotations

import json

import pytest

from tests.system.conftest import Federation, StartNode

pytestmark = pytest.mark.system


def test_a_wrong_address_shows_before_anything_is_compiled(
    federation: Federation, start_node: StartNode
) -> None:
    node = federation.worker(start_node, "127.0.0.1:1")
    assert node.process.stdout is not None
    first, second = (json.loads(node.process.stdout.readline()) for _ in range(2))
    node.process.terminate()
    node.finish()
    assert first["event"] == "Started"
    assert second["event"] == "Waiting"
    assert second["names"] == ["ps0"]
    assert second["seconds"] <= 3
    assert second["seconds_left"] > 0
    assert second["reason"] == "ps0 does not answer at 127.0.0.1:1: Connection refused"
