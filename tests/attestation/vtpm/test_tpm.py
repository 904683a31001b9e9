"""The client of a TPM against a real one in software, and against answers that no TPM gives."""

from __future__ import annotations

import errno
import hashlib
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from coterie.attestation.tee.tpm import KernelTpm, Tpm
from coterie.attestation.vtpm.tpm_quote import TpmQuote, verify_quote
from coterie.errors import EnvironmentUnfit
from tests.attestation.vtpm.software import INDEX, KEY, Software, software_tpm

CONTENT = bytes(range(256)) * 6 + b"end"  # this TPM has room for 2,048 bytes


@pytest.fixture(scope="module")
def software(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Software]:
    with software_tpm(tmp_path_factory.mktemp("tpm")) as made:
        made.make_key()
        made.write_nv(CONTENT)
        yield made


@pytest.mark.system
def test_an_nv_index_is_read_whole(software: Software) -> None:
    assert Tpm(software).read_nv(INDEX) == CONTENT


@pytest.mark.system
def test_a_quote_is_over_the_data_and_the_pcrs_that_are_read(software: Software) -> None:
    tpm = Tpm(software)
    software.tool("tpm2_pcrextend", f"11:sha256={'ab' * 32}")
    values = tpm.read_pcrs(range(24))
    assert values[11] == hashlib.sha256(bytes(32) + b"\xab" * 32).digest()
    assert list(values) == list(range(24))
    some = {number: values[number] for number in (0, 4, 7, 11, 23)}
    quoted = tpm.quote(KEY, b"d" * 32, tuple(some))
    quote = TpmQuote.parse(quoted.message)
    verify_quote(quote, quoted.signature, software.key(), extra_data=b"d" * 32, values=some)


@pytest.mark.system
@pytest.mark.parametrize(
    ("action", "what"),
    [
        (lambda tpm: tpm.read_nv(0x01400002), "the TPM failed to read an NV index"),
        (lambda tpm: tpm.quote(0x81000009, b"", [0]), "the TPM failed to quote"),
    ],
)
def test_what_the_tpm_does_not_have_is_told(
    software: Software, action: Callable[[Tpm], object], what: str
) -> None:
    with pytest.raises(EnvironmentUnfit) as refused:
        action(Tpm(software))
    assert refused.value.what == what
    assert (refused.value.seen or "").startswith("response code 0x")


def test_a_machine_without_a_tpm_is_told(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentUnfit) as refused:
        Tpm(KernelTpm(tmp_path)).read_nv(INDEX)
    assert refused.value.seen == "ENOENT: No such file or directory"


class Answering:
    """A TPM that gives fixed answers, and keeps the commands."""

    def __init__(self, *answers: bytes) -> None:
        self._answers = list(answers)
        self.commands: list[bytes] = []

    def exchange(self, command: bytes, limit: int) -> bytes:
        self.commands.append(command)
        return self._answers.pop(0)[:limit]


def answer(body: bytes = b"", *, code: int = 0, size: int | None = None) -> bytes:
    return struct.pack(">HII", 0x8001, 10 + len(body) if size is None else size, code) + body


def authorized(body: bytes) -> bytes:
    return answer(struct.pack(">I", len(body)) + body + b"\0\0\1\0\0")


def sized(octets: bytes) -> bytes:
    return struct.pack(">H", len(octets)) + octets


PUBLIC = answer(sized(bytes(12) + b"\0\4") + sized(b""))  # of an index of 4 bytes
SELECTED = b"\0\0\0\1\0\x0b\3\1\0\0"  # PCR 0


@pytest.mark.parametrize(
    "answers",
    [
        [b""],
        [answer(size=11)],
        [answer(b"\0")],
        [answer(sized(b"\4"))],
        [answer(sized(b"\xff\xff"))],
        [PUBLIC, authorized(sized(b"123"))],
        [PUBLIC, authorized(sized(b"12345"))],
        [PUBLIC, answer(b"\0\0\1\0")],
    ],
    ids=["nothing", "longer", "half a length", "no size", "too large", "short", "long", "cut"],
)
def test_a_malformed_answer_for_an_nv_index_is_refused(answers: list[bytes]) -> None:
    with pytest.raises(EnvironmentUnfit) as refused:
        Tpm(Answering(*answers)).read_nv(INDEX)
    assert refused.value.what == "the TPM gave an answer that is malformed"


@pytest.mark.parametrize(
    "body",
    [
        bytes(4) + SELECTED[:7] + bytes(3) + bytes(4),  # no PCR: it would be asked for ever
        bytes(4) + SELECTED[:7] + b"\2\0\0" + b"\0\0\0\1" + sized(bytes(32)),
        bytes(4) + SELECTED + b"\0\0\0\2" + sized(bytes(32)) + sized(bytes(32)),
        bytes(4) + SELECTED + b"\0\0\0\1" + sized(bytes(20)),
        bytes(4) + b"\0\0\0\1\0\4\3\1\0\0" + b"\0\0\0\1" + sized(bytes(20)),
    ],
    ids=["none", "another", "more values", "a short value", "SHA-1"],
)
def test_a_malformed_answer_for_pcrs_is_refused(body: bytes) -> None:
    with pytest.raises(EnvironmentUnfit) as refused:
        Tpm(Answering(answer(body))).read_pcrs([0])
    assert refused.value.what == "the TPM gave an answer that is malformed"


@pytest.mark.parametrize(
    "body",
    [
        sized(b"message") + b"\0\x16\0\x0b" + sized(b"pss"),
        sized(b"message") + b"\0\x14\0\4" + sized(b"sha1"),
        sized(b"message") + b"\0\x14\0\x0b" + sized(bytes(513)),
        sized(b"message") + b"\0\x14",
    ],
)
def test_a_malformed_answer_for_a_quote_is_refused(body: bytes) -> None:
    with pytest.raises(EnvironmentUnfit) as refused:
        Tpm(Answering(authorized(body))).quote(KEY, b"", [0])
    assert refused.value.what == "the TPM gave an answer that is malformed"


def test_a_busy_tpm_is_asked_again_and_not_for_ever() -> None:
    busy = answer(code=0x922)
    device = Answering(busy, busy, PUBLIC, authorized(sized(b"1234")))
    assert Tpm(device).read_nv(INDEX) == b"1234"
    with pytest.raises(EnvironmentUnfit) as refused:
        Tpm(Answering(*[busy] * 5)).read_nv(INDEX)
    assert refused.value.seen == "response code 0x922"


class Failing:
    def exchange(self, command: bytes, limit: int) -> bytes:  # noqa: ARG002
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_a_failing_device_is_told() -> None:
    with pytest.raises(EnvironmentUnfit) as refused:
        Tpm(Failing()).read_pcrs([0])
    assert refused.value.seen == "EIO: Input/output error"
