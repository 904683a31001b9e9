"""Mutations of checkpoints: what is on the disk when it is announced, what counts after a start."""

from __future__ import annotations

from mutants.mutation import Of

_STORE = "ps/checkpoints/test_store.py"
_store = Of("ps/checkpoints/store.py", _STORE)
_writer = Of("ps/checkpoints/writer.py", _STORE)
_ledger = Of("ps/checkpoints/common_checkpoints.py", "ps/checkpoints/test_common_checkpoints.py")
_lineage = Of("ps/checkpoints/lineage.py", "ps/checkpoints/test_lineage.py")

MUTATIONS = (
    _store(
        "manifest-of-another-step",
        "if manifest.step != step or step in found:",
        "if step in found:",
        "a renamed manifest stands for another step",
    ),
    _store(
        "two-runs",
        "if len(runs) > 1:",
        "if len(runs) > 2:",
        "checkpoints of two runs are mixed",
    ),
    _store(
        "another-name",
        'if not path.name.endswith(f"-{self._files.casing.name_of(digest)}.json"):',
        'if not path.name.endswith(".json"):',
        "an altered manifest counts",
    ),
    _store(
        "another-contract",
        "seen = (manifest.contract_digest, manifest.shard, manifest.shards)",
        "seen = (self._contract_digest, manifest.shard, manifest.shards)",
        "checkpoints of another contract count",
    ),
    _store(
        "another-shard",
        "seen = (manifest.contract_digest, manifest.shard, manifest.shards)",
        "seen = (manifest.contract_digest, *self._place)",
        "checkpoints of another shard count",
    ),
    _store(
        "segment-missing",
        "if not self._folder.path(bytes.fromhex(listed.digest)).exists():",
        "if not listed.digest:",
        "a checkpoint that lacks a segment is offered, and fails when it is restored",
    ),
    _store(
        "old-run-stays",
        "            self._manifest_path(step, self._lost[step]).unlink(missing_ok=True)\n",
        "            pass\n",
        "a folder holds checkpoints of two runs, and the next start is refused",
    ),
    _store(
        "old-run-gone-too-late",
        "            sync_folder(self._directory)\n        with self._lock:\n            self._lost.clear()\n",
        "        with self._lock:\n            self._lost.clear()\n",
        "a machine that stops leaves checkpoints of two runs",
    ),
    _store(
        "announced-before-it-is-written",
        "        self._files.write(self._manifest_path(snapshot.step, digest), text)\n"
        "        self._segments = segments\n"
        "        with self._lock:\n"
        "            self._manifests[snapshot.step] = (digest, manifest)\n"
        "            self._tip = digest.hex()\n"
        "        self._on_durable(DurableCheckpoint(snapshot.step, digest))\n",
        "        self._on_durable(DurableCheckpoint(snapshot.step, digest))\n"
        "        self._files.write(self._manifest_path(snapshot.step, digest), text)\n"
        "        self._segments = segments\n"
        "        with self._lock:\n"
        "            self._manifests[snapshot.step] = (digest, manifest)\n"
        "            self._tip = digest.hex()\n",
        "workers remember a checkpoint that is not there, and refuse the restored server",
    ),
    _store(
        "newest-retired",
        "oldest = min(self._retired, max(self._manifests, default=-1))",
        "oldest = self._retired",
        "the newest checkpoint is removed",
    ),
    _store(
        "never-retired",
        "if step >= oldest}",
        "if step >= 0}",
        "the disk fills up",
    ),
    _store(
        "retired-one-too-many",
        "if step >= oldest}",
        "if step > min(oldest, max(self._manifests, default=-1) - 1)}",
        "a checkpoint that may still be restored is removed",
    ),
    _store(
        "best-retired",
        "            wanted |= {",
        "            _ = {",
        "the best model is gone when the training ends",
    ),
    _store(
        "gap-behind-anything",
        "if previous != digest and (older, digest) not in named:",
        "if previous != digest and not named:",
        "a folder put together from two lives counts, as soon as a best model is kept",
    ),
    _store(
        "never-merged",
        "2 * segments[-1].rows >= segments[-2].rows",
        "segments[-1].rows < 0",
        "the number of segments grows with the number of steps",
    ),
    _store(
        "newer-ones-stay",
        "if s > step), reverse=True",
        "if s > step + 1), reverse=True",
        "after a restore, a checkpoint of the lost life is still offered",
    ),
    _store(
        "notes-of-the-lost-life-stay",
        "        self._notes.forget(but=self.available())\n",
        "",
        "after a restore, notes of the lost end count",
    ),
    _store(
        "forgotten-and-still-there",
        "            self._manifest_path(step, digest).unlink(missing_ok=True)\n",
        "            pass\n",
        "checkpoints of the lost life are offered at the next start",
    ),
    _store(
        "another-life-counts",
        "if previous != digest and (older, digest) not in named:",
        "if not previous:",
        "checkpoints of two lives of a run stand for one, or one between them was taken out",
    ),
    _writer(
        "failure-not-told",
        "            except CoterieError as error:\n                self._on_failure(error)\n",
        "            except CoterieError:\n                pass\n",
        "a run goes on whose checkpoints are not written",
    ),
    _store(
        "half-written-files-stay",
        "            torn.unlink()\n",
        "            pass\n",
        "what a killed process left stays",
    ),
    _ledger(
        "any-shards-checkpoint",
        "step = max(set.intersection(*(set(found) for found in steps.values())), default=None)",
        "step = min(set.intersection(*(set(found) for found in steps.values())), default=None)",
        "a restart goes back further than it must",
    ),
    _ledger(
        "newest-is-oldest",
        "step = max(set.intersection(*(set(found) for found in self._held.values())), default=after)",
        "step = min(set.intersection(*(set(found) for found in self._held.values())), default=after)",
        "an old checkpoint is announced",
    ),
    _ledger(
        "told-twice",
        "if step <= after:",
        "if step < after:",
        "a checkpoint is announced again and again",
    ),
    _ledger(
        "before-all-shards",
        "if len(self._held) < self._shards:",
        "if not self._held:",
        "a checkpoint is announced before all shards hold it",
    ),
    _ledger(
        "lost-life-counts",
        "self._held = {shard: {step: found[step]} for shard, found in steps.items()}",
        "self._held = steps",
        "checkpoints of the lost life are announced",
    ),
    _ledger(
        "digest-of-one-shard",
        'hashlib.sha256(b"".join(parts)).digest()',
        "parts[0]",
        "another checkpoint of shard 1 is taken for the same one",
    ),
    _lineage(
        "any-run",
        "if remembered.run_id != self.run_id:",
        "if not remembered.run_id:",
        "another run under the same contract takes this one's place",
    ),
    _lineage(
        "step-only",
        "        if checkpoint in known:\n",
        "        if checkpoint.step in {found.step for found in known}:\n",
        "a run that was set back, and then trained further, is followed",
    ),
    _lineage(
        "older-than-the-first",
        "len(self.passed) >= MAX_PASSED and checkpoint.step < known[0].step",
        "checkpoint.step < known[0].step",
        "a run that began anew, and announced its first checkpoint later, is followed",
    ),
    _lineage(
        "newest-not-kept",
        "newest = () if self.newest is None else (self.newest,)",
        "newest = ()",
        "an honest server that was restarted is refused",
    ),
    _lineage(
        "consent-for-another-way",
        "            and self.passes(_target(consent))\n",
        "",
        "a consent counts for a run that never came through what was agreed on",
    ),
    _lineage(
        "consent-of-another-run",
        "            if consent.run_id == self.run_id\n            and",
        "            if",
        "a consent of an earlier run under the same contract counts",
    ),
)
