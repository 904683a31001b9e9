"""Mutations of checkpoints: what is on the disk when it is announced, and what is refused there."""

from __future__ import annotations

from mutants.mutation import Of

_STORE = "ps/checkpoints/test_store.py"
_segments = Of("ps/checkpoints/segments.py", "ps/checkpoints/test_segments.py")
_segment_files = Of("ps/checkpoints/segment_files.py", "ps/checkpoints/test_segments.py")
_files = Of("ps/checkpoints/files.py", "ps/checkpoints/test_files.py")
_notes = Of("ps/checkpoints/notes.py", "ps/checkpoints/test_notes.py")
_store = Of("ps/checkpoints/store.py", _STORE)
_ledger = Of("ps/checkpoints/ledger.py", "ps/checkpoints/test_ledger.py")

MUTATIONS = (
    _segments(
        "not-synced",
        "        os.fsync(file.fileno())\n        file.seek(0)\n",
        "        file.seek(0)\n",
        "a segment that was announced is lost when the machine stops",
    ),
    _segments(
        "synced-before-it-is-written",
        "        target.finish()\n        file.flush()\n        os.fsync(file.fileno())\n",
        "        os.fsync(file.fileno())\n        target.finish()\n        file.flush()\n",
        "the end of a segment that was announced is lost when the machine stops",
    ),
    _segments(
        "read-back-not-compared",
        "if seen.digest() != digest.digest():",
        "if not seen.digest():",
        "a disk that does not keep what it was given is not noticed",
    ),
    _segments(
        "read-back-in-part",
        "for start in range(0, content, _READ_BYTES):",
        "for start in range(0, min(content, 1), _READ_BYTES):",
        "only the start of a segment is read back",
    ),
    _segments(
        "merge-keeps-both",
        '        kept = kept[~np.isin(kept["row"], new["row"][:new_end], assume_unique=True)]\n',
        "",
        "a merged segment holds a row twice",
    ),
    _segments(
        "merge-keeps-the-older",
        '        kept = kept[~np.isin(kept["row"], new["row"][:new_end], assume_unique=True)]\n'
        "        together = np.concatenate([kept, new[:new_end]])\n",
        "        later = new[:new_end]\n"
        '        later = later[~np.isin(later["row"], kept["row"], assume_unique=True)]\n'
        "        together = np.concatenate([kept, later])\n",
        "of a row in two segments the older value stays",
    ),
    _segments(
        "merge-out-of-order",
        'yield together[np.argsort(together["row"], kind="stable")]',
        "yield together",
        "a merged segment's rows are in no order",
    ),
    _segments(
        "merge-of-damaged-segments",
        "        old.check_digest()\n        new.check_digest()\n    with",
        "    with",
        "the first of a merge's two readings is not checked",
        survives="The second reading is checked, and only it is written: the first one counts rows, and "
        "another count than what is written is refused by the size of the merged segment.",
    ),
    _segments(
        "merge-writes-what-was-altered",
        "            old.check_digest()\n            new.check_digest()\n\n        old.head()",
        "\n        old.head()",
        "a segment that is altered between a merge's two readings gets into the merged one",
    ),
    _segments(
        "rows-out-of-range",
        "or rows[-1] >= table.rows:",
        "or rows[-1] > table.rows:",
        "the row just past the table is taken",
    ),
    _segments(
        "rows-in-any-order",
        "if rows[0] <= last or not np.all(rows[1:] > rows[:-1]) or",
        "if rows[0] <= last or",
        "rows in another order, or twice, are taken",
    ),
    _segments(
        "values-that-are-no-numbers",
        '            _require_finite(reader.path, records["values"], records["state"])\n',
        "",
        "whoever writes the disk puts a NaN into the model",
    ),
    _segments(
        "state-that-is-no-number",
        '            _require_finite(reader.path, records["values"], records["state"])\n',
        '            _require_finite(reader.path, records["values"])\n',
        "whoever writes the disk puts a NaN into the optimizer",
    ),
    _segments(
        "dense-that-is-no-number",
        "        _require_finite(reader.path, dense, dense_state)\n",
        "",
        "whoever writes the disk puts a NaN into the dense parameters",
    ),
    _segments(
        "dense-state-that-is-no-number",
        "        _require_finite(reader.path, dense, dense_state)\n",
        "        _require_finite(reader.path, dense)\n",
        "whoever writes the disk puts a NaN into the dense optimizer",
    ),
    _segments(
        "restores-altered-segments",
        "        reader.check_digest()\n    state.step",
        "    state.step",
        "an altered segment is restored",
    ),
    _segments(
        "restores-other-sizes",
        '        if seen != expected:\n            raise damaged_file(reader.path, f"sizes',
        '        if not seen:\n            raise damaged_file(reader.path, f"sizes',
        "a segment of another model is restored as far as it goes",
    ),
    _segment_files(
        "digest-not-compared",
        "if self._hash.digest() != self._digest:",
        "if not self._hash.digest():",
        "an altered segment is read",
    ),
    _segment_files(
        "footer-names-another-digest",
        "if tail[4:] != self._digest:",
        "if not tail[4:]:",
        "the end of a segment may be altered",
    ),
    _segment_files(
        "any-size",
        "if whole != expected:",
        "if whole < expected:",
        "bytes between records and footer are read by nobody",
    ),
    _segment_files(
        "footer-without-bound",
        "length > min(_MAX_FOOTER_BYTES, whole - _TAIL_BYTES)",
        "length > whole - _TAIL_BYTES",
        "a footer of any length is decoded",
    ),
    _segment_files(
        "any-magic",
        "if not head.startswith(MAGIC):",
        "if not head:",
        "a file of another format is read as a segment",
    ),
    _files(
        "not-synced",
        "        os.fsync(file.fileno())\n    partial",
        "    partial",
        "a manifest that was announced is empty when the machine stops",
    ),
    _files(
        "synced-before-it-is-written",
        "        file.flush()\n        os.fsync(file.fileno())\n",
        "        os.fsync(file.fileno())\n        file.flush()\n",
        "a manifest that was announced is empty when the machine stops",
    ),
    _files(
        "rename-not-synced",
        "    partial.rename(path)\n    sync_directory(path.parent)\n",
        "    partial.rename(path)\n",
        "a manifest that was announced is not there when the machine stops",
    ),
    _files(
        "directory-synced-before-the-rename",
        "    partial.rename(path)\n    sync_directory(path.parent)\n",
        "    sync_directory(path.parent)\n    partial.rename(path)\n",
        "a manifest that was announced is not there when the machine stops",
    ),
    _files(
        "directory-not-synced",
        "        os.fsync(descriptor)\n",
        "        pass\n",
        "renames are lost when the machine stops",
    ),
    _files(
        "written-in-place",
        'partial = path.with_name(path.name + ".partial")',
        "partial = path",
        "a file is half there when the process ends",
    ),
    _files(
        "without-bound",
        "return self.casing.reader(file, path.name).read(most)",
        "return self.casing.reader(file, path.name).read(2 * most)",
        "a file of any size is read into memory",
    ),
    _notes(
        "of-another-run",
        "if run != run_id:",
        "if not run:",
        "notes of another run under the same contract count",
    ),
    _notes(
        "of-another-checkpoint",
        "if digest not in digests:",
        "if not digests:",
        "notes of another end of the run count",
    ),
    _notes(
        "altered",
        "if not genuine or not content.startswith(self._head)",
        "if not content.startswith(self._head)",
        "a torn note counts",
    ),
    _notes(
        "of-another-contract",
        "or not content.startswith(self._head) or",
        "or",
        "notes of another contract count",
    ),
    _notes(
        "renamed",
        "or not content.startswith(self._head) or not rest.startswith(name):",
        "or not content.startswith(self._head):",
        "one node's note stands for another's",
    ),
    _notes(
        "kept-for-ever",
        "if not kept or self._read(path)[1] not in kept:",
        "if not kept:",
        "notes of an end that was undone are kept",
    ),
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
        "            self._manifest_path(step, digest).unlink(missing_ok=True)\n",
        "            pass\n",
        "a folder holds checkpoints of two runs, and the next start is refused",
    ),
    _store(
        "old-run-gone-too-late",
        "            sync_directory(self._directory)  # never two runs' checkpoints, whenever it ends\n",
        "",
        "a machine that stops leaves checkpoints of two runs",
    ),
    _store(
        "announced-before-it-is-written",
        "        self._files.write(self._manifest_path(snapshot.step, digest), text)\n"
        "        with self._changed:\n"
        "            self._manifests[snapshot.step] = (digest, manifest)\n"
        "        self._on_durable(DurableCheckpoint(snapshot.step, digest))\n",
        "        self._on_durable(DurableCheckpoint(snapshot.step, digest))\n"
        "        self._files.write(self._manifest_path(snapshot.step, digest), text)\n"
        "        with self._changed:\n"
        "            self._manifests[snapshot.step] = (digest, manifest)\n",
        "workers remember a checkpoint that is not there, and refuse the restored server",
    ),
    _store(
        "newest-retired",
        "min(self._retired, newest)",
        "self._retired",
        "the newest checkpoint is removed",
    ),
    _store(
        "never-retired",
        "[s for s in self._manifests if s < min(self._retired, newest)]",
        "[s for s in self._manifests if s < 0]",
        "the disk fills up",
    ),
    _store(
        "retired-one-too-many",
        "if s < min(self._retired, newest)",
        "if s <= min(self._retired, newest - 1)",
        "a checkpoint that may still be restored is removed",
    ),
    _store(
        "never-merged",
        "2 * segments[-1].rows >= segments[-2].rows",
        "segments[-1].rows < 0",
        "the number of segments grows with the number of steps",
    ),
    _store(
        "newer-ones-stay",
        "if found > step]",
        "if found > step + 1]",
        "after a restore, a checkpoint of the lost life is still offered",
    ),
    _store(
        "notes-of-the-lost-life-stay",
        "        self._notes.forget(but=self.available())\n",
        "",
        "after a restore, notes of the lost end count",
    ),
    _store(
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
)
