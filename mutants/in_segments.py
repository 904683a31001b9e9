"""Mutations of what checkpoints are made of: whole files, segments, small files, notes."""

from __future__ import annotations

from mutants.mutation import Of

_segments = Of("ps/checkpoints/segments.py", "ps/checkpoints/test_segments.py")
_segment_files = Of("ps/checkpoints/segment_files.py", "ps/checkpoints/test_segments.py")
_whole = Of("files.py", "test_files.py")
_files = Of("ps/checkpoints/files.py", "ps/checkpoints/test_files.py")
_notes = Of("ps/checkpoints/end_records.py", "ps/checkpoints/test_end_records.py")

MUTATIONS = (
    _segments(
        "not-synced",
        "            sync(file)\n            file.seek(0)\n",
        "            file.seek(0)\n",
        "a segment that was announced is lost when the machine stops",
    ),
    _segments(
        "synced-before-it-is-written",
        "            target.finish()\n            sync(file)\n",
        "            sync(file)\n            target.finish()\n            file.flush()\n",
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
    _whole(
        "not-synced",
        "            sync(file)\n        move_over(partial, path)",
        "        move_over(partial, path)",
        "a file that was announced is empty when the machine stops",
    ),
    _whole(
        "synced-before-it-is-written",
        "    file.flush()\n    os.fsync(file.fileno())\n",
        "    os.fsync(file.fileno())\n    file.flush()\n",
        "a file that was announced is empty when the machine stops",
    ),
    _whole(
        "rename-not-synced",
        "        raise\n    sync_folder(path.parent)\n",
        "        raise\n",
        "a file that was announced is not there when the machine stops",
    ),
    _whole(
        "folder-synced-before-the-rename",
        "        move_over(partial, path)\n    except BaseException:\n",
        "        sync_folder(path.parent)\n        move_over(partial, path)\n        return\n"
        "    except BaseException:\n",
        "a file that was announced is not there when the machine stops",
    ),
    _whole(
        "folder-not-synced",
        "        os.fsync(descriptor)\n",
        "        pass\n",
        "renames are lost when the machine stops",
    ),
    _whole(
        "folders-name-not-synced",
        "        made.mkdir(exist_ok=True)\n        sync_folder(made.parent)\n",
        "        made.mkdir(exist_ok=True)\n",
        "a new folder, with all that is in it, is not there when the machine stops",
    ),
    _whole(
        "written-in-place",
        'partial = path.with_name(path.name + ".partial")',
        "partial = path",
        "a file is half there when the process ends",
    ),
    _whole(
        "new-not-synced",
        "            sync(file)\n        sync_folder",
        "        sync_folder",
        "a key or contract that was announced is empty when the machine stops",
    ),
    _whole(
        "new-not-named-durably",
        "            sync(file)\n        sync_folder(path.parent)\n",
        "            sync(file)\n",
        "a key or contract that was announced is not there when the machine stops",
    ),
    _whole(
        "made-not-synced",
        "            _sync_all(aside)\n",
        "",
        "predictions, an export or a sealed data set are empty when the machine stops",
    ),
    _whole(
        "made-not-named-durably",
        "        sync_folder(path.parent)\n    except BaseException:\n        if named:",
        "        pass\n    except BaseException:\n        if named:",
        "predictions, an export or a sealed data set are not there when the machine stops",
    ),
    _whole(
        "made-without-its-names",
        "            _sync_all(inside)\n        sync_folder(path)\n",
        "            _sync_all(inside)\n",
        "an export's folder is there without its files when the machine stops",
    ),
    _whole(
        "read-to-the-last-octet-that-may-be",
        "return file.read(most + 1)",
        "return file.read(most)",
        "a file that is too large is cut, and taken for a whole one",
    ),
    _whole(
        "new-over-another",
        "os.O_CREAT | os.O_EXCL | ",
        "os.O_CREAT | os.O_TRUNC | ",
        "a new key takes the place of one that is there",
    ),
    _whole(
        "new-left-in-part",
        "        path.unlink(missing_ok=True)  # it is",
        "        pass  # it is",
        "half a key is left, and the next try finds its name taken",
    ),
    _files(
        "not-written-whole",
        "        write_whole(path, whole.getvalue())\n",
        "        path.write_bytes(whole.getvalue())\n",
        "a manifest that was announced is empty when the machine stops",
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
)
