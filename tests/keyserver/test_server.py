"""The key server as it is started: what it says before it listens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from coterie.keyserver.server import KeyServer
from tests.keyserver.conftest import Owner


def told(owner: Owner, model: str | None) -> list[Mapping[str, str]]:
    """What a server says while it starts."""
    lines: list[Mapping[str, str]] = []
    policy = owner.policy()
    if model == "plain":
        policy = replace(policy, model="plain")
    server = KeyServer(
        policy, owner.world.keys["acme"], listen="127.0.0.1:0", log=owner.log, tell=lines.append
    )
    with server.serving():
        return lines


def test_a_policy_that_gives_the_model_away_is_warned_of_before_the_server_listens(
    owner: Owner,
) -> None:
    warning, listening = told(owner, "plain")
    assert warning["event"] == "WARNING"
    assert "gets the trained model IN THE CLEAR" in warning["what"]
    assert warning["seen"] == "any platform"
    assert listening["event"] == "Listening"


def test_a_policy_that_seals_it_is_not(owner: Owner) -> None:
    assert [line["event"] for line in told(owner, None)] == ["Listening"]
