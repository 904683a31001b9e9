"""How the server keeps its receipt: through restarts and renewals, within bounds, whatever strangers do."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from coterie.attestation.collateral_source import CachedCollateral, StapledOnly
from coterie.contract import Contract
from coterie.errors import CoterieError, EnvironmentUnfit, EvidenceRefused, ReceiptRefused
from coterie.ps.checkpoints.lineage import Lineage
from coterie.ps.wire import ps_pb2 as pb
from coterie.ps.wire.checkpoint_messages import ReceiptHead, check_remembered, receipt_to_wire
from coterie.receipts import entries, entry_types
from coterie.receipts.explain import does_not_prove, proves
from coterie.receipts.recorder import Recorder
from coterie.runs import events
from tests.ratls.conftest import World
from tests.receipts.conftest import END, MODEL, RUN, Scene

pytestmark = pytest.mark.long


DIGEST = "{:064x}".format
OTHER_RUN = "07" * 32


def restarted(scene: Scene, incarnation: int = 2) -> Recorder:
    """The server's process starts again: with another key."""
    scene.server = scene.world.trust("ps0", incarnation=incarnation)
    return scene.recorder()


def test_a_restarted_server_goes_on_with_its_receipt(scene: Scene) -> None:
    first = scene.recorder()
    scene.run(first, until=1)
    first.close()
    again = restarted(scene)
    again.on_event(events.Resumed(1, DIGEST(1), RUN))
    for worker in ("acme-worker", "bolt-worker"):
        scene.join(again, worker)
    again.on_event(events.CheckpointWritten(2, DIGEST(2)))
    again.finish(scene.result(), END)
    again.close()

    found = scene.verify()
    assert found.gaps == ()
    assert found.history.starts == 2
    assert found.history.joins == {"acme-worker": 2, "bolt-worker": 2}
    servers = [proved for proved in found.proved if proved.node == "ps0"]
    assert [(s.occasion, s.incarnation) for s in servers] == [("start", 1), ("restart", 2)]
    assert servers[0].key != servers[1].key
    assert "started 2 times" in " ".join(proves(found))


def test_a_run_that_goes_back_further_says_so(scene: Scene) -> None:
    first = scene.recorder()
    scene.run(first, until=2)
    first.close()
    again = restarted(scene)
    again.on_event(events.Resumed(1, DIGEST(1), RUN))
    again.on_event(events.CheckpointWritten(2, DIGEST(7)))
    again.finish(scene.result(), replace(END, checkpoint=DIGEST(7)))
    again.close()
    found = scene.verify()
    assert found.history.went_back == [1]
    assert "the run went back to: 1" in " ".join(proves(found))


def test_a_run_that_begins_anew_may_bring_other_data(scene: Scene) -> None:
    first = scene.recorder()
    scene.join(first, "acme-worker", data=1)
    first.close()
    again = restarted(scene)
    again.on_event(events.Begun(OTHER_RUN))
    scene.join(again, "acme-worker", incarnation=8, data=2)
    scene.join(again, "bolt-worker", incarnation=8)
    again.on_event(events.CheckpointWritten(2, DIGEST(2)))
    again.finish(scene.result(), replace(END, run_id=OTHER_RUN))
    again.close()
    found = scene.verify()
    assert found.history.went_back == [0]
    assert found.history.data_sets["acme-worker"].data_set == b"a2".hex() * 16


def test_absences_follow_the_run_back(scene: Scene) -> None:
    """What was decided after the checkpoint did not happen."""
    scene.world = QuorumWorld()
    scene.server = scene.world.trust("ps0", incarnation=1)
    first = scene.recorder()
    scene.run(first, until=1)
    first.on_event(events.LeftOut("bolt-worker", 1))
    first.close()
    again = restarted(scene)
    again.on_event(events.Resumed(1, DIGEST(1), RUN))
    again.on_event(events.LeftOut("acme-worker", 1))
    again.on_event(events.Returned("acme-worker", 2))
    again.on_event(events.CheckpointWritten(2, DIGEST(2)))
    again.on_event(events.LeftOut("bolt-worker", 2))  # did not come for the outcome
    absences = [{"worker": "acme-worker", "start": 1, "stop": 2}]
    again.finish(scene.result(absences=absences), END)
    again.close()
    found = scene.verify()
    assert [a.worker for a in found.outcome.absences] == ["acme-worker"]
    assert "acme-worker from step 1 to before step 2" in " ".join(proves(found))


class QuorumWorld(World):
    """Its contract lets one of the two workers be away."""

    @property
    def contract(self) -> Contract:
        agreed = super().contract
        limits = agreed.limits.model_copy(update={"quorum": 2, "grace_seconds": 1.0})
        return agreed.model_copy(update={"limits": limits})


def test_a_history_that_its_host_cut_short_shows(scene: Scene) -> None:
    """The checkpoint tells more than the receipt: entries before it are missing."""
    first = scene.recorder()
    scene.run(first, until=2)
    first.close()
    lines = scene.path.read_bytes().splitlines(keepends=True)
    scene.path.write_bytes(b"".join(lines[:7]))
    again = restarted(scene)
    again.on_event(events.Resumed(2, DIGEST(2), RUN))
    again.finish(scene.result(), END)
    again.close()
    found = scene.verify()
    (gap,) = found.gaps
    assert gap.startswith(
        "the server went on from a checkpoint of step 2 that this receipt does not"
    )
    assert "Gap: the server went on" in " ".join(does_not_prove(found))


def test_what_its_host_cut_off_after_a_checkpoint_shows_nowhere_but_is_said_to_be_open(
    scene: Scene,
) -> None:
    """The checkpoint is known, so there is no gap: the words do not claim that all was told."""
    first = scene.recorder()
    scene.run(first, until=1)
    whole = scene.path.read_bytes()
    first.on_event(events.Refused("ps0", "EvidenceRefused", "[measurement] another program"))
    scene.join(first, "acme-worker", incarnation=8)
    first.on_event(events.Failed("ps0", 6, {"error": "MessageRefused", "what": "a bad push"}))
    first.close()
    assert scene.path.read_bytes().startswith(whole)
    assert len(scene.path.read_bytes()) > len(whole)
    scene.path.write_bytes(whole)
    again = restarted(scene)
    again.on_event(events.Resumed(1, DIGEST(1), RUN))
    for worker in ("acme-worker", "bolt-worker"):
        scene.join(again, worker, incarnation=9)
    again.on_event(events.CheckpointWritten(2, DIGEST(2)))
    again.finish(scene.result(), END)
    again.close()

    found = scene.verify()
    assert (found.gaps, found.history.failures, found.history.refusals) == ((), [], 1)
    (said,) = (line for line in does_not_prove(found) if line.startswith("That all was told"))
    assert said.startswith(
        "That all was told: the server was started 2 times. Before each restart its host could cut "
        "off what came after the last checkpoint, which shows as no gap: "
    )


def test_a_receipt_without_a_restart_has_no_such_place(finished: Scene) -> None:
    assert "That all was told" not in " ".join(does_not_prove(finished.verify()))


def test_a_torn_last_line_is_cut_off_and_told(scene: Scene) -> None:
    first = scene.recorder()
    scene.run(first, until=1)
    first.close()
    whole = scene.path.read_bytes()
    scene.path.write_bytes(whole + whole[:100])
    again = restarted(scene)
    again.on_event(events.Resumed(1, DIGEST(1), RUN))
    again.on_event(events.CheckpointWritten(2, DIGEST(2)))
    again.finish(scene.result(), END)
    again.close()
    found = scene.verify()
    assert found.gaps == ("a crash before line 10 left 100 bytes of an entry, which are lost",)


@pytest.mark.parametrize("kept", [0, 1])
def test_a_receipt_that_holds_nothing_yet_begins_anew(scene: Scene, kept: int) -> None:
    scene.recorder().close()
    lines = scene.path.read_bytes().splitlines(keepends=True)
    scene.path.write_bytes(b"".join(lines[:kept]))
    again = restarted(scene)
    again.close()
    first = scene.bodies()[0]
    assert isinstance(first, entry_types.Server)
    assert (first.reason, scene.kinds()) == ("start", ["server", "contract", "begun"])


def test_a_touched_receipt_stops_the_server(scene: Scene) -> None:
    first = scene.recorder()
    scene.run(first, until=1)
    first.close()
    content = bytearray(scene.path.read_bytes())
    content[content.index(b'"step":1') + 7] ^= 1
    scene.path.write_bytes(bytes(content))
    with pytest.raises(ReceiptRefused, match="signature does not fit") as refusal:
        restarted(scene)
    assert refusal.value.place == "line 9 (checkpoint)"
    assert scene.path.read_bytes() == bytes(content), "it is evidence: nothing is changed in it"


def test_a_receipt_of_another_contract_stops_the_server(scene: Scene) -> None:
    scene.recorder().close()
    scene.world = World()
    with pytest.raises(ReceiptRefused, match="of another contract"):
        restarted(scene)


def test_a_receipt_by_another_program_stops_the_server(scene: Scene) -> None:
    """A host cannot write the first half itself."""
    scene.server = scene.world.trust("ps0", measurement=bytes(32), incarnation=1)
    scene.recorder().close()
    with pytest.raises(ReceiptRefused, match=r"\[mrenclave\]") as refusal:
        restarted(scene)
    assert refusal.value.place == "line 1 (server)"


def test_an_older_process_of_the_server_does_not_go_on(scene: Scene) -> None:
    restarted(scene, 2).close()
    content = scene.path.read_bytes()
    for incarnation in (1, 2):
        with pytest.raises(EvidenceRefused, match="later than 2") as refusal:
            restarted(scene, incarnation)
        assert refusal.value.failed_check == "incarnation"
    assert scene.path.read_bytes() == content


def test_what_it_cannot_hold_is_told_at_the_end(scene: Scene) -> None:
    recorder = scene.recorder()
    scene.run(recorder, until=1)
    recorder.on_event(events.CheckpointWritten(2, "no digest"))
    with pytest.raises(CoterieError, match="cannot hold what happened"):
        recorder.finish(scene.result(), END)
    recorder.close()


def test_a_clock_that_was_set_back_stops_the_server(scene: Scene) -> None:
    scene.recorder().close()
    scene.world.clock.advance(-timedelta(hours=1))
    with pytest.raises(EvidenceRefused) as refusal:
        restarted(scene)
    assert refusal.value.failed_check == "clock"


def test_a_clock_that_is_a_little_behind_does_not(scene: Scene) -> None:
    first = scene.recorder()
    scene.run(first)
    first.close()
    scene.world.clock.advance(-timedelta(seconds=30))
    again = restarted(scene)
    again.on_event(events.Resumed(2, DIGEST(2), RUN))
    again.finish(scene.result(), END)
    again.close()
    assert scene.verify().gaps == ()


def test_a_finished_receipt_stays_as_it_is(scene: Scene) -> None:
    content = scene.whole().read_bytes()
    again = restarted(scene)
    again.on_event(events.LeftOut("acme-worker", 2))
    scene.attest(again, "acme-worker", 9)
    again.finish(scene.result(), END)
    again.close()
    assert scene.path.read_bytes() == content


def test_a_second_outcome_is_refused(scene: Scene) -> None:
    scene.whole()
    again = restarted(scene)
    with pytest.raises(ReceiptRefused, match="another outcome"):
        again.finish(scene.result(model_digest="cd" * 32), END)
    again.close()


def test_a_failed_run_says_why_and_can_go_on(scene: Scene) -> None:
    first = scene.recorder()
    scene.run(first, until=1)
    first.on_event(events.Failed("ps0", 7, {"error": "NodeMissing", "what": "bolt stayed away"}))
    first.close()
    assert scene.kinds()[-1] == "failed"
    again = restarted(scene)
    again.on_event(events.Resumed(1, DIGEST(1), RUN))
    again.on_event(events.CheckpointWritten(2, DIGEST(2)))
    again.finish(scene.result(), END)
    again.close()
    assert scene.verify().history.failures == ["NodeMissing: bolt stayed away"]


def test_a_renewed_key_of_the_server_signs_on(scene: Scene) -> None:
    recorder = scene.recorder()
    scene.join(recorder, "acme-worker")
    scene.world.clock.advance(timedelta(hours=11, minutes=30))
    scene.join(recorder, "bolt-worker")
    recorder.on_event(events.CheckpointWritten(2, DIGEST(2)))
    recorder.finish(scene.result(), END)
    recorder.close()
    found = scene.verify()
    servers = [proved for proved in found.proved if proved.node == "ps0"]
    assert [server.occasion for server in servers] == ["start", "renewal"]
    assert servers[0].key != servers[1].key
    assert found.gaps == ()


def test_a_renewed_key_of_a_worker_is_in_it(scene: Scene) -> None:
    recorder = scene.recorder()
    scene.run(recorder, until=1)
    scene.attest(recorder, "acme-worker", 7)  # another key: the test's trust is made anew
    recorder.on_event(events.CheckpointWritten(2, DIGEST(2)))
    recorder.finish(scene.result(), END)
    recorder.close()
    keys = {p.key for p in scene.verify().proved if p.node == "acme-worker"}
    assert len(keys) == 2


def test_evidence_is_written_when_a_node_takes_part(scene: Scene) -> None:
    """Who only knocks leaves nothing, however often."""
    recorder = scene.recorder()
    for incarnation in range(5):
        scene.attest(recorder, "acme-worker", incarnation)
    assert scene.kinds() == ["server", "contract", "begun"]
    recorder.on_event(events.Joined("acme-worker", (), 3, 256, "00" * 32))
    assert scene.kinds() == ["server", "contract", "begun"], "an older start than the newest known"
    recorder.close()


def test_refusals_are_counted_after_the_first_hundred(scene: Scene) -> None:
    recorder = scene.recorder()
    scene.run(recorder)
    for number in range(150):
        recorder.on_event(events.Refused("ps0", "EvidenceRefused", "\x1b[31m" + "x" * number * 10))
    recorder.finish(scene.result(), END)
    recorder.close()
    found = scene.verify()
    assert found.history.refusals == 100
    assert found.history.counted_only == ["51 more refusals"]
    assert found.gaps == (), "who knocks often does not hide the rest"
    assert "Counted, not told: 51 more refusals." in does_not_prove(found)
    assert (
        max(len(b.reason) for b in scene.bodies() if isinstance(b, entry_types.PeerRefused)) == 400
    )
    assert "\x1b" not in scene.path.read_text()
    assert "\\u001b" not in scene.path.read_text()


def test_refusals_that_were_told_together_are_all_counted(scene: Scene) -> None:
    recorder = scene.recorder()
    scene.run(recorder)
    for count in (1, 9, 90):
        recorder.on_event(events.Refused("ps0", "HandshakeFailed", "TLS failed", count))
    recorder.finish(scene.result(), END)
    recorder.close()
    found = scene.verify()
    assert found.history.refusals == 1 + 3, "the scene has one of its own"
    assert found.history.counted_only == ["97 more refusals"]


def test_attestations_of_a_node_are_counted_after_the_first_hundred(scene: Scene) -> None:
    recorder = scene.recorder()
    scene.run(recorder)
    peer = scene.attest(None, "acme-worker", 8)
    for number in range(150):
        again = replace(peer, incarnation=8 + number, certificate_sha256=number.to_bytes(32, "big"))
        recorder.attested(again)
        recorder.on_event(events.Joined("acme-worker", (), 8 + number, 256, b"a1".hex() * 16))
    recorder.finish(scene.result(), END)
    recorder.close()
    assert scene.kinds().count("attested") == 101
    assert scene.kinds().count("joined") == 101
    assert scene.bodies()[-1].model_dump()["not_kept"] == {"acme-worker": 51}


def test_the_number_of_steps_costs_no_bytes(scene: Scene) -> None:
    recorder = scene.recorder()
    before = scene.path.stat().st_size
    for step in range(20_000):
        recorder.on_event(events.StepDone(step, 20_000, 256, 0.5, 1.0, 0.5, 1, 256))
    assert scene.path.stat().st_size == before
    recorder.close()


def test_a_checkpoint_has_the_loss_of_the_windows_that_were_told(scene: Scene) -> None:
    recorder = scene.recorder()
    scene.run(recorder, until=0)
    for step, loss, over in ((1, None, 0), (2, 0.5, 12), (3, None, 0), (4, None, 0), (5, 0.25, 24)):
        recorder.on_event(events.StepDone(step, 5, 8, loss, 1.0, loss, 2, over))
        if step in (1, 3, 5):
            recorder.on_event(events.CheckpointWritten(step, f"{step:064x}"))
    recorder.close()
    told = [body for body in scene.bodies() if isinstance(body, entry_types.Checkpoint)]
    assert [(entry.step, entry.examples, entry.loss) for entry in told] == [
        (1, 8, None),
        (3, 16, 0.5),
        (5, 16, 0.25),
    ]


def test_a_server_without_collateral_leaves_it_to_others(scene: Scene) -> None:
    """Its own is found among what its peers brought: they are on the same kind of platform."""
    recorder = scene.recorder()
    scene.run(recorder)
    recorder.finish(scene.result(), END)
    recorder.close()
    bare = replace(scene.server, collateral=CachedCollateral(StapledOnly(), kinds={"simulated"}))
    folder = scene.folder / "bare"
    folder.mkdir()
    alone = Recorder(folder, bare, ())
    alone.on_event(events.Begun(RUN))
    peers = [scene.attest(None, worker) for worker in ("acme-worker", "bolt-worker")]
    for peer in peers:
        alone.attested(peer)
        digest = (f"{peer.node[0]}1").encode().hex() * 16
        alone.on_event(events.Joined(peer.node, (), peer.incarnation, 256, digest))
    alone.on_event(events.CheckpointWritten(2, DIGEST(2)))
    alone.finish(scene.result(), END)
    alone.close()
    found = scene.verify(folder / "receipt.jsonl")
    assert found.outcome.model_digest == MODEL
    assert found.signers == ()


def test_a_receipt_that_cannot_be_written_is_told_at_the_end(scene: Scene) -> None:
    recorder = scene.recorder()
    scene.run(recorder, until=1)
    content = scene.path.read_bytes()
    recorder._file._file.close()
    recorder.on_event(events.CheckpointWritten(2, DIGEST(2)))
    recorder.on_event(events.LeftOut("acme-worker", 2))
    with pytest.raises(EnvironmentUnfit, match="cannot be written"):
        recorder.finish(scene.result(), END)
    assert scene.path.read_bytes() == content


def test_a_link_is_not_followed(scene: Scene, tmp_path: Path) -> None:
    scene.path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EnvironmentUnfit, match="cannot be written"):
        scene.recorder()


def test_an_outcome_that_an_earlier_run_left_is_refused(scene: Scene) -> None:
    """A server that starts again and at once tells an end that it did not come to."""
    first = scene.recorder()
    scene.run(first)
    first.close()
    again = restarted(scene)
    again.finish(scene.result(model_digest="cd" * 32, test_auc=0.99), END)
    again.close()
    with pytest.raises(ReceiptRefused, match="no run was begun or resumed") as refusal:
        scene.verify()
    assert refusal.value.place == "line 12 (outcome)"
    assert refusal.value.expected == "a begun or resumed entry before it"


def test_an_outcome_of_another_run_is_refused_through_any_gap(scene: Scene) -> None:
    first = scene.recorder()
    scene.run(first)
    first.close()
    again = restarted(scene)
    again.on_event(events.Resumed(2, DIGEST(7), OTHER_RUN))
    again.finish(scene.result(), END)
    again.close()
    with pytest.raises(ReceiptRefused, match="the outcome is of another run") as refusal:
        scene.verify()
    assert (refusal.value.expected, refusal.value.seen) == (f"run {OTHER_RUN}", f"run {RUN}")


def test_another_runs_checkpoint_and_outcome_show_as_a_gap(scene: Scene) -> None:
    """Its host has put all of another run's folder in this one's place, but not its receipt."""
    first = scene.recorder()
    scene.run(first)
    first.close()
    again = restarted(scene)
    again.on_event(events.Resumed(2, DIGEST(2), OTHER_RUN))
    again.finish(scene.result(), replace(END, run_id=OTHER_RUN))
    again.close()
    (gap,) = scene.verify().gaps
    assert gap.startswith("the server went on from a checkpoint of step 2 that this receipt")


# --- what nodes remember of it -----------------------------------------------------------------


def remembered(head: ReceiptHead | None) -> pb.Remembered:
    return pb.Remembered(receipt=receipt_to_wire(head))


def test_nodes_hear_how_far_the_receipt_is_on_the_disk(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = scene.recorder()
    synced: list[int] = []
    real = os.fsync

    def fsync(file: int) -> None:
        real(file)
        synced.append(len(scene.path.read_bytes().splitlines()))

    monkeypatch.setattr(os, "fsync", fsync)
    scene.join(recorder, "acme-worker")
    head = recorder.head()
    recorder.close()
    lines = scene.path.read_bytes().splitlines()
    assert head == ReceiptHead(len(lines), bytes.fromhex(entries.line_digest(lines[-1])))
    assert synced[-1] == len(lines), "a crash of the machine takes nothing back that was told"


def test_what_cannot_be_synced_is_not_told(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = scene.recorder()
    before = recorder.head()
    scene.join(recorder, "acme-worker")

    def fsync(_file: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fsync)
    assert recorder.head() == before
    with pytest.raises(EnvironmentUnfit, match=r"the receipt .* cannot be written"):
        recorder.finish(scene.result(), END)
    recorder.close()


def test_a_receipt_whose_end_was_cut_off_is_refused_by_who_remembers_it(scene: Scene) -> None:
    """What came after the last checkpoint shows as no gap: only whoever has seen it knows."""
    first = scene.recorder()
    scene.run(first, until=1)
    kept = first.head()
    first.on_event(events.LeftOut("bolt-worker", 1))
    seen = first.head()
    first.close()
    whole = scene.path.read_bytes()
    scene.path.write_bytes(b"".join(whole.splitlines(keepends=True)[:-1]))
    again = restarted(scene)
    again.on_event(events.Resumed(1, DIGEST(1), RUN))
    lineage = Lineage(RUN)
    check_remembered("acme-worker", remembered(kept), lineage, again)
    check_remembered("acme-worker", remembered(None), lineage, again)
    assert seen is not None
    with pytest.raises(ReceiptRefused) as refused:
        check_remembered("bolt-worker", remembered(seen), lineage, again)
    again.close()
    assert refused.value.what == (
        "node bolt-worker remembers otherwise: the end of the receipt was cut off, or the server "
        "goes on with another receipt"
    )
    assert refused.value.expected == (
        f"one that begins with {seen.entries} entries, the last one with hash {seen.digest.hex()}"
    )
    again = restarted(scene, incarnation=3)
    check_remembered("acme-worker", remembered(kept), lineage, again)
    again.close()
