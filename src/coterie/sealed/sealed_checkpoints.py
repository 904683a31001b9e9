"""Sealed checkpoint files, which only the attested parameter server of this contract can open."""

from __future__ import annotations

import hmac
import os
from typing import BinaryIO

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from typing_extensions import override

from coterie.ps.checkpoints.codec import FileCodec, Source, Target
from coterie.sealed.sealed_file import KEY_BYTES, Seal, SealReader, SealWriter

_NAMES = b"coterie checkpoint names 1\0"


class SealedFileCodec(FileCodec):
    """A FileCodec of AES-256-GCM chunks.

    Args:
        key: Key of the run's checkpoints, 32 bytes.
        contract_digest: Digest of the run's contract.
        place: Number of the shard and number of shards; no shard opens another's files.
    """

    sealed = True

    def __init__(self, key: bytes, contract_digest: bytes, place: tuple[int, int]) -> None:
        self._key = key
        self._set_id = contract_digest
        self._place = "shard {} of {}".format(*place)
        self._name_key = HKDF(SHA256(), KEY_BYTES, None, _NAMES + contract_digest).derive(key)

    @override
    def name_of(self, digest: bytes) -> str:
        # keyed, so that nobody can test a guess of the content by the file's name
        return hmac.digest(self._name_key, digest, "sha256").hex()

    @override
    def writer(self, file: BinaryIO, size: int, name: str) -> Target:
        return SealWriter(file, size, self._under(name))

    @override
    def reader(self, file: BinaryIO, name: str) -> Source:
        return SealReader(file, os.fstat(file.fileno()).st_size, self._under(name))

    def _under(self, name: str) -> Seal:
        return Seal(self._key, self._set_id, f"{self._place}/{name}")
