"""Mutations of sealed files: chunks, places, keys, data sets."""

from __future__ import annotations

from mutants.mutation import Of

_chunks = Of("sealed/sealed_file.py", "sealed/test_sealed_file.py")
_casing = Of("sealed/sealed_checkpoints.py", "sealed/test_sealed_checkpoints.py")
_shares = Of("keys/key_shares.py", "keys/test_key_shares.py")
_keys = Of("sealed/data_key.py", "sealed/test_sealed_dataset.py")
_dataset = Of("sealed/sealed_dataset.py", "sealed/test_sealed_dataset.py")
_model = Of("sealed/sealed_model.py", "sealed/test_sealed_model.py")

MUTATIONS = (
    _chunks(
        "nonce-twice",
        'return index.to_bytes(12, "big")',
        "return bytes(12)",
        "one nonce comes twice under one key, which gives the plaintexts' difference away",
    ),
    _chunks(
        "end-not-bound",
        "return header + _PLACE.pack(index, count)",
        "return _PLACE.pack(index, 0)",
        "a file can be cut after any chunk, if its header is adjusted",
    ),
    _chunks(
        "header-not-bound",
        "return header + _PLACE.pack(index, count)",
        "return _PLACE.pack(index, count)",
        "a header is only compared and counted with",
    ),
    _chunks(
        "order-not-bound",
        "return header + _PLACE.pack(index, count)",
        "return header + _PLACE.pack(0, count)",
        "the order of chunks rests on the nonce alone",
    ),
    _chunks(
        "count-not-bound",
        "return header + _PLACE.pack(index, count)",
        "return header + _PLACE.pack(index, 0)",
        "the number of chunks rests on the header alone",
    ),
    _chunks(
        "any-name",
        "info = _INFO + under.set_id + under.name.encode()",
        "info = _INFO + under.set_id",
        "one file of a set stands for another",
    ),
    _chunks(
        "any-set",
        "info = _INFO + under.set_id + under.name.encode()",
        "info = _INFO + under.name.encode()",
        "the key does not depend on the set, only the header names it",
    ),
    _chunks(
        "one-key-for-all-files",
        "HKDF(SHA256(), KEY_BYTES, salt, info)",
        "HKDF(SHA256(), KEY_BYTES, None, info)",
        "sealing a file twice uses a nonce twice under one key",
    ),
    _chunks(
        "set-not-compared",
        "if not hmac.compare_digest(set_id, under.set_id):",
        "if not set_id:",
        "a file of another set is refused as if it had been altered",
    ),
    _chunks(
        "any-sealed-size",
        "if sealed_size != HEADER_BYTES + size + self._count * TAG_BYTES:",
        "if sealed_size < HEADER_BYTES + size + self._count * TAG_BYTES:",
        "bytes follow the last chunk",
    ),
    _chunks(
        "size-of-the-header-counts",
        "if sealed_size != HEADER_BYTES + size + self._count * TAG_BYTES:",
        "if sealed_size < 0:",
        "an altered header makes this node take any amount of memory",
    ),
    _chunks(
        "reserved-bytes",
        "if (magic, chunk_bytes, zero) != (_MAGIC, CHUNK_BYTES, bytes(8)):",
        "if (magic, chunk_bytes) != (_MAGIC, CHUNK_BYTES):",
        "a later format is read as this one",
    ),
    _chunks(
        "grown-meanwhile",
        "    if source.read(1):\n",
        "    if source.read(0):\n",
        "a file that grows while it is read is taken",
    ),
    _chunks(
        "no-end",
        "return max(1, -(-size // CHUNK_BYTES))",
        "return -(-size // CHUNK_BYTES)",
        "an empty file has no tag: any header opens",
    ),
    _chunks(
        "more-than-was-said",
        "        if self._missing < 0:\n",
        "        if self._missing < -1:\n",
        "the header says another size than what was sealed",
    ),
    _chunks(
        "fewer-than-was-said",
        "        if self._missing:\n",
        "        if self._missing < 0:\n",
        "the header says another size than what was sealed",
    ),
    _chunks(
        "reads-past-a-chunk",
        "if self._opened[0] != index:",
        "if self._opened[0] == -1:",
        "every chunk is read as the first one",
    ),
    _chunks(
        "key-is-shown",
        'return f"Seal(set_id={self.set_id.hex()}, name={self.name!r})"',
        'return f"Seal(set_id={self.set_id.hex()}, name={self.name!r}, key={self.key!r})"',
        "a log line shows the key",
    ),
    _casing(
        "any-shard",
        'self._place = "shard {} of {}".format(*place)',
        'self._place = "shard of {1}".format(*place)',
        "one shard's checkpoint opens for another",
    ),
    _casing(
        "names-tell",
        'return hmac.digest(self._name_key, digest, "sha256").hex()',
        "return digest.hex()",
        "a name confirms a guess of the content",
    ),
    _casing(
        "any-file",
        'return Seal(self._key, self._set_id, f"{self._place}/{name}")',
        "return Seal(self._key, self._set_id, self._place)",
        "an older manifest stands in a newer one's place",
    ),
    _casing(
        "any-contract",
        "self._set_id = contract_digest",
        "self._set_id = bytes(32)",
        "another contract's file is refused as if it had been altered",
    ),
    _shares(
        "one-party-is-enough",
        'together = b"".join(shares[party.name] for party in contract.parties)',
        "together = shares[contract.parties[0].name]",
        "one party alone opens the checkpoints",
    ),
    _shares(
        "share-for-all-contracts",
        "info = _SHARE + contract_digest(contract)",
        "info = _SHARE",
        "the share of one contract opens another's checkpoints",
    ),
    _shares(
        "key-for-all-contracts",
        "info = _KEY + contract_digest(contract)",
        "info = _KEY",
        "the key of one contract opens another's checkpoints, given the same shares",
    ),
    _shares(
        "share-of-any-length",
        "if len(share) != SHARE_BYTES:",
        "if len(share) > SHARE_BYTES:",
        "a party without a share has an empty one",
    ),
    _keys(
        "any-kind-of-file",
        'kind: Literal["coterie data key"]',
        "kind: str",
        "another key file is read as a data set's key",
    ),
    _keys(
        "key-is-shown",
        'return f"DataKey(party={self.party!r}, set_id={self.set_id.hex()})"',
        'return f"DataKey(party={self.party!r}, set_id={self.set_id.hex()}, key={self.key!r})"',
        "a log line shows the key",
    ),
    _keys(
        "error-shows-the-key",
        'raise _refused(path, "something else") from None',
        "raise _refused(path, path.read_text())",
        "the refusal of a damaged key file shows it",
    ),
    _dataset(
        "another-section",
        "if not hmac.compare_digest(sealed.data_digest, data_digest(data)):",
        "if not sealed.data_digest:",
        "the key of a data set that cannot be used is asked for",
    ),
    _dataset(
        "another-party",
        "if sealed.party != party:",
        "if not sealed.party:",
        "another party's data set is asked for",
    ),
    _dataset(
        "overwrites",
        "        if out.exists():\n",
        "        if not out.parent.exists():\n",
        "a sealed data set is written over another thing",
    ),
    _dataset(
        "damaged-data-sealed",
        "_seal(under, path.name))",
        "_seal(under, MANIFEST_NAME))",
        "shards open under the manifest's name",
    ),
    _model(
        "open-end",
        "            yield writer\n            writer.finish()\n",
        "            yield writer\n",
        "the last chunk of the sealed model is missing",
    ),
)
