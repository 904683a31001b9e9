"""Receipts of runs whose contract demands tokens: each stands beside its node's evidence and is verified again."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from typing_extensions import override

from coterie.errors import ReceiptRefused
from coterie.ratls.peer import Peer
from coterie.receipts.entry_types import AttestedNode
from coterie.receipts.recorder import Recorder
from tests.ratls.demanding import DemandingWorld
from tests.receipts.conftest import Scene


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(DemandingWorld(), tmp_path)


def test_tokens_are_kept_and_verified(scene: Scene) -> None:
    scene.whole()
    kept = [body for body in scene.bodies() if isinstance(body, AttestedNode)]
    assert [body.session.tokens is not None for body in kept] == [True, True]
    assert scene.verify().gaps == ()


def test_they_are_verified_as_of_the_given_time(scene: Scene) -> None:
    scene.whole()
    with pytest.raises(ReceiptRefused) as refused:
        scene.verify(at=scene.world.clock() + timedelta(hours=2))
    assert "[token_validity]" in refused.value.what


class Forgetful(Scene):
    """A server that does not keep its peers' tokens."""

    @override
    def attest(self, recorder: Recorder | None, node: str, incarnation: int = 7) -> Peer:
        peer = super().attest(None, node, incarnation)
        assert recorder is not None
        assert peer.proof is not None
        recorder.attested(replace(peer, proof=replace(peer.proof, tokens=b"")))
        return peer


def test_a_node_whose_token_is_not_there_is_refused(tmp_path: Path) -> None:
    """The server's signature holds, and the contract's demand does not."""
    scene = Forgetful(DemandingWorld(), tmp_path)
    scene.whole()
    with pytest.raises(ReceiptRefused) as refused:
        scene.verify()
    assert "[token]" in refused.value.what
