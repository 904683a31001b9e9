"""A TensorFlow cluster's receipt: who took part, under which program; and what in it cannot be changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from typing_extensions import override

from coterie.contract import Contract, contract_digest, parse_contract
from coterie.contract.signatures import public_key_text
from coterie.errors import EnvironmentUnfit, ReceiptRefused
from coterie.ratls.peer import Peer
from coterie.receipts.cluster_recorder import ClusterRecorder
from coterie.receipts.entry_types import (
    Agreement,
    AttestedNode,
    Body,
    Checkpoint,
    NodeJoined,
    ProgramBegun,
    ProgramEnded,
    RunBegun,
)
from coterie.receipts.explain import describe, does_not_prove, proves
from coterie.receipts.findings import Findings
from coterie.receipts.parents import walk
from coterie.receipts.reading import read_entries
from coterie.receipts.recorder import Recorder
from coterie.receipts.verification import verify_receipt
from coterie.runs import events
from coterie.runs.run_files import RECEIPT
from tests.ratls.conftest import CONTRACT, World
from tests.receipts.conftest import Keeping, judge, resign

PROGRAM, WHEEL = "ab" * 32, "cd" * 32
SECTION = f'[tensorflow]\nprogram = "{PROGRAM}"\nwheel = "{WHEEL}"\n'
WORKERS = ("acme-worker", "bolt-worker")
KINDS = ["server", "contract", "attested", "attested", "program", "refused", "ended"]


@dataclass
class ClusterWorld(World):
    """The same parties and nodes, under a contract for a TensorFlow program.

    Attributes:
        sdt: Whether there is one owner, and a chief in place of a server.
    """

    sdt: bool = False

    @property
    @override
    def contract(self) -> Contract:
        keys = {name: public_key_text(key) for name, key in self.keys.items()}
        text = CONTRACT.format(**keys) + SECTION
        if self.sdt:
            text = text.replace('"hfl"', '"sdt"').replace('role = "ps"', 'role = "chief"')
            text = text.replace("[trust.roles.ps]", "[trust.roles.chief]")
        else:
            text += 'operations = ["NoOp"]\n'
        return parse_contract(text.encode(), "test")


@dataclass
class Cluster(Keeping):
    """A cluster of TensorFlow's.

    Attributes:
        refused_calls: What the inspection has counted.
    """

    refused_calls: int | None = 2

    def recorder(self, incarnation: int = 1) -> ClusterRecorder:
        """The node's process starts."""
        self.server = self.world.trust("ps0", incarnation=incarnation)
        return ClusterRecorder(
            self.folder, self.server, self.signatures(), refused_calls=lambda: self.refused_calls
        )

    def attest(self, recorder: ClusterRecorder, node: str, incarnation: int = 7) -> Peer:
        """A real handshake of a node with this one."""
        heard: list[Peer] = []

        def admit(peer: Peer) -> int:
            heard.append(peer)
            recorder.attested(peer)
            return 1

        trust = self.world.trust(node, incarnation=incarnation)
        self.world.handshake(trust, self.server, admit=admit).attested  # noqa: B018 (raises)
        return heard[0]

    def run(self, recorder: ClusterRecorder) -> None:
        """Everybody comes, the program begins, and a worker asks for what it may not have."""
        for worker in WORKERS:
            self.attest(recorder, worker)
        recorder.begin(PROGRAM, WHEEL)
        recorder.on_event(events.Refused("ps0", "CallRefused", "ReadFile (from acme-worker)", 3))

    def whole(self) -> Path:
        """The receipt of a process that was told to end."""
        recorder = self.recorder()
        self.run(recorder)
        recorder.end("stopped")
        recorder.close()
        return self.path

    def verify(self, path: Path | None = None, expected: Contract | None = None) -> Findings:
        return verify_receipt(path or self.path, appraiser_of=judge, expected=expected)

    def kinds(self) -> list[str]:
        return [entry.body.kind for entry in read_entries(self.path)]

    def bodies(self) -> list[Body]:
        return [entry.body for entry in read_entries(self.path)]

    def tell(self, bodies: list[Body]) -> None:
        """Another receipt, signed by the same key: a node whose program lies."""
        identity = self.server.credentials.current().identity
        resign(bodies, identity, self.path, lambda _: self.world.clock())


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(ClusterWorld(), tmp_path)


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """A cluster that has ended, for those who only read its receipt."""
    cluster = Cluster(ClusterWorld(), tmp_path_factory.mktemp("cluster"))
    cluster.whole()
    return cluster


def test_a_clusters_receipt_is_accepted_under_the_parties_contract(ended: Cluster) -> None:
    assert ended.kinds() == KINDS
    found = ended.verify(expected=ended.world.contract)
    assert found.signers == ("operator", "acme", "bolt")
    assert found.contract_digest == contract_digest(ended.world.contract).hex()
    assert [(p.occasion, p.node, p.party, p.incarnation) for p in found.proved] == [
        ("attested", "acme-worker", "acme", 7),
        ("attested", "bolt-worker", "bolt", 7),
        ("start", "ps0", "operator", 1),
    ]
    told = found.cluster
    assert told is not None
    assert told.begun == ProgramBegun(program=PROGRAM, wheel=WHEEL)
    assert (told.joins, told.endings) == (dict.fromkeys(WORKERS, 1), ["stopped"])
    assert (told.refusals, told.refused_calls) == (1, 2)
    assert (found.gaps, told.counted_only) == ((), ["2 more refusals"])


def test_it_has_a_version_of_its_own(ended: Cluster) -> None:
    agreement = ended.bodies()[1]
    assert isinstance(agreement, Agreement)
    assert agreement.format == 3


def test_what_tensorflow_does_not_tell_is_said_to_be_unknown(ended: Cluster) -> None:
    found = ended.verify()
    assert found.model_digest is None
    values = found.to_dict()
    for absent in ("outcome", "data_sets", "checkpoints", "went_back", "start"):
        assert values[absent] is None
    assert values["tensorflow"] == {
        "program": PROGRAM, "wheel": WHEEL, "endings": ["stopped"], "refused_calls": 2,
    }  # fmt: skip
    yes, no = " ".join(proves(found)), " ".join(does_not_prove(found))
    assert f"under program {PROGRAM} and TensorFlow {WHEEL}" in yes
    assert "acme-worker 1, bolt-worker 1" in yes
    assert "refused were 2" in yes
    assert "steps over" not in yes
    assert "names no data, step, checkpoint or model" in no
    assert "could cut off the end" in no


def test_every_entry_can_be_described(ended: Cluster) -> None:
    described = [describe(entry) for entry in read_entries(ended.path)]
    assert described[4] == (
        f"all nodes proved themselves; program {PROGRAM} begins, TensorFlow {WHEEL}"
    )
    assert described[-1] == "the process was told to end; refused calls: 2"


def test_a_changed_byte_is_found_in_every_line(ended: Cluster, tmp_path: Path) -> None:
    lines = ended.path.read_bytes().splitlines(keepends=True)
    other = tmp_path / RECEIPT
    for index, line in enumerate(lines):
        middle = len(line) // 2
        changed = line[:middle] + bytes([line[middle] ^ 1]) + line[middle + 1 :]
        other.write_bytes(b"".join([*lines[:index], changed, *lines[index + 1 :]]))
        with pytest.raises(ReceiptRefused) as refusal:
            ended.verify(other)
        assert refusal.value.place.startswith(f"line {index + 1}")


def test_a_peer_that_is_left_out_is_missed(ended: Cluster, tmp_path: Path) -> None:
    lines = ended.path.read_bytes().splitlines(keepends=True)
    other = tmp_path / RECEIPT
    other.write_bytes(b"".join([*lines[:3], *lines[4:]]))
    with pytest.raises(ReceiptRefused, match="1 entries before it are missing"):
        ended.verify(other)


def test_a_node_cannot_begin_without_a_peers_evidence(cluster: Cluster) -> None:
    cluster.whole()
    cluster.tell([body for body in cluster.bodies() if getattr(body, "node", "") != "bolt-worker"])
    with pytest.raises(ReceiptRefused, match="bolt-worker had not proved itself") as refusal:
        cluster.verify()
    assert refusal.value.place == "line 4 (program)"


@pytest.mark.parametrize(
    ("program", "wheel", "what"),
    [("ef" * 32, WHEEL, "another program"), (PROGRAM, "ef" * 32, "another TensorFlow")],
)
def test_another_program_than_the_contracts_is_refused(
    cluster: Cluster, program: str, wheel: str, what: str
) -> None:
    cluster.whole()
    other = ProgramBegun(program=program, wheel=wheel)
    cluster.tell([other if isinstance(body, ProgramBegun) else body for body in cluster.bodies()])
    with pytest.raises(ReceiptRefused, match=what) as refusal:
        cluster.verify()
    assert refusal.value.place == "line 5 (program)"


def test_a_receipt_of_another_clusters_contract_is_refused(ended: Cluster) -> None:
    with pytest.raises(ReceiptRefused, match="the receipt of another contract"):
        ended.verify(expected=ClusterWorld().contract)


def test_evidence_of_another_cluster_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    cluster.whole()
    folder = tmp_path / "other"
    folder.mkdir()
    other = Cluster(ClusterWorld(), folder)
    other.whole()
    (theirs,) = (
        body
        for body in other.bodies()
        if isinstance(body, AttestedNode) and body.node == "acme-worker"
    )
    cluster.tell(
        [
            theirs if getattr(body, "node", "") == "acme-worker" else body
            for body in cluster.bodies()
        ]
    )
    with pytest.raises(ReceiptRefused, match="claims another contract"):
        cluster.verify()


@pytest.mark.parametrize(
    "body",
    [
        RunBegun(run="5e" * 32),
        NodeJoined(node="acme-worker", incarnation=7, examples=9, data_set="5e" * 32),
        Checkpoint(step=1, digest="5e" * 32, examples=1, loss=None),
    ],
    ids=lambda body: body.kind,
)
def test_it_cannot_tell_of_steps(cluster: Cluster, body: Body) -> None:
    cluster.whole()
    bodies = cluster.bodies()
    cluster.tell([*bodies[:-1], body, bodies[-1]])
    with pytest.raises(ReceiptRefused, match="has no such entry"):
        cluster.verify()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda bodies: [*bodies, bodies[4]], "comes after the process's last entry"),
        (lambda bodies: [*bodies[:5], bodies[4], *bodies[5:]], "the program begins twice"),
        (
            lambda bodies: [
                *bodies[:4],
                ProgramEnded(how="returned", refused_calls=0, not_kept={}),
            ],
            "ends without having begun",
        ),
        (
            lambda bodies: [
                *bodies[:5],
                ProgramEnded(how="returned", refused_calls=None, not_kept={}),
            ],
            "or the other way round",
        ),
        (lambda bodies: bodies[:4], "the program never began"),
        (
            lambda bodies: [bodies[0], bodies[1].model_copy(update={"format": 2}), *bodies[2:]],
            "of another kind of run",
        ),
    ],
)
def test_an_account_that_does_not_add_up_is_refused(
    cluster: Cluster, change: Callable[[list[Body]], list[Body]], what: str
) -> None:
    cluster.whole()
    cluster.tell(change(cluster.bodies()))
    with pytest.raises(ReceiptRefused, match=what):
        cluster.verify()


def test_a_run_of_coteries_own_engine_tells_of_no_program(tmp_path: Path) -> None:
    world = World()
    server = world.trust("ps0", incarnation=1)
    recorder = Recorder(tmp_path, server)
    recorder.on_event(events.Begun("5e" * 32))
    recorder.close()
    bodies = [entry.body for entry in read_entries(tmp_path / RECEIPT)]
    identity = server.credentials.current().identity
    resign(
        [*bodies, ProgramBegun(program=PROGRAM, wheel=WHEEL)],
        identity,
        tmp_path / RECEIPT,
        lambda _: world.clock(),
    )
    with pytest.raises(ReceiptRefused, match="the contract is not for a TensorFlow program"):
        verify_receipt(tmp_path / RECEIPT, appraiser_of=judge)


def test_a_killed_process_leaves_an_open_end_which_is_said(cluster: Cluster) -> None:
    recorder = cluster.recorder()
    cluster.run(recorder)
    recorder.close()  # as the kernel would
    found = cluster.verify()
    assert found.gaps == (
        "after line 6 the server's process does not say how it ended: it was killed, or entries were cut off",
    )
    assert any("Gap: after line 6" in line for line in does_not_prove(found))


def test_every_entry_is_in_the_file_before_the_next_thing_happens(cluster: Cluster) -> None:
    recorder = cluster.recorder()
    lines = [2]
    for worker in WORKERS:
        cluster.attest(recorder, worker)
        lines.append(len(cluster.kinds()))
    recorder.begin(PROGRAM, WHEEL)
    assert [*lines, len(cluster.kinds())] == [2, 3, 4, 5]


def test_the_next_process_continues_it_and_has_all_attested_again(cluster: Cluster) -> None:
    cluster.whole()
    recorder = cluster.recorder(incarnation=2)
    cluster.run(recorder)
    recorder.close()
    again = cluster.recorder(incarnation=3)
    cluster.attest(again, "acme-worker", incarnation=8)
    cluster.attest(again, "bolt-worker")
    again.begin(PROGRAM, WHEEL)
    again.end("returned")
    again.close()
    found = cluster.verify()
    told = found.cluster
    assert told is not None
    assert told.starts == 3
    assert told.joins == {"acme-worker": 2, "bolt-worker": 1}
    assert told.endings == ["stopped", "returned"]
    assert len(found.gaps) == 1  # the second process was killed
    assert "started 3 times" in " ".join(proves(found))


def test_a_restart_needs_its_peers_evidence_anew(cluster: Cluster) -> None:
    cluster.whole()
    recorder = cluster.recorder(incarnation=2)
    recorder.begin(PROGRAM, WHEEL)
    recorder.close()
    with pytest.raises(ReceiptRefused, match="acme-worker, bolt-worker had not proved"):
        cluster.verify()


def test_a_peer_that_comes_back_or_renews_its_key_is_told_again(cluster: Cluster) -> None:
    recorder = cluster.recorder()
    cluster.run(recorder)
    cluster.attest(recorder, "acme-worker")  # another certificate of the same start
    cluster.attest(recorder, "acme-worker", incarnation=8)
    recorder.end("stopped")
    recorder.close()
    assert cluster.kinds()[-3:] == ["attested", "attested", "ended"]
    told = cluster.verify().cluster
    assert told is not None
    assert told.joins == {"acme-worker": 2, "bolt-worker": 1}


def test_a_failure_ends_a_process_too(cluster: Cluster) -> None:
    cluster.whole()
    recorder = cluster.recorder(incarnation=2)
    recorder.on_event(events.Failed("ps0", 5, {"error": "NodeMissing", "what": "waited 60 s"}))
    recorder.end("stopped")
    recorder.close()
    found = cluster.verify()
    assert found.history.failures == ["NodeMissing: waited 60 s"]
    assert found.gaps == ()
    assert cluster.kinds()[-1] == "failed"


def test_nothing_follows_the_end(cluster: Cluster) -> None:
    recorder = cluster.recorder()
    cluster.run(recorder)
    recorder.end("stopped")
    recorder.end("returned")
    cluster.attest(recorder, "acme-worker", incarnation=9)
    recorder.close()
    assert cluster.kinds() == KINDS


def test_the_chief_keeps_it_where_there_is_no_server(tmp_path: Path) -> None:
    cluster = Cluster(ClusterWorld(sdt=True), tmp_path, refused_calls=None)
    assert cluster.world.contract.receipt_keeper().role == "chief"
    recorder = cluster.recorder()
    cluster.run(recorder)
    recorder.end("returned")
    recorder.close()
    found = cluster.verify(expected=cluster.world.contract)
    told = found.cluster
    assert told is not None
    assert (told.endings, told.refused_calls) == (["returned"], None)
    assert "inspected" not in " ".join(proves(found))


def test_a_receipt_that_cannot_be_written_says_so_at_the_end(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = cluster.recorder()
    cluster.run(recorder)

    def full(_descriptor: int, _data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("coterie.chained_log.os.write", full)
    recorder.begin(PROGRAM, WHEEL)
    with pytest.raises(EnvironmentUnfit, match="receipt"):
        recorder.end("returned")


def test_no_run_goes_on_from_a_cluster(ended: Cluster, cluster: Cluster) -> None:
    with pytest.raises(ReceiptRefused, match="of no run in the line"):
        walk(ended.verify(), [cluster.whole()], cluster.verify)
