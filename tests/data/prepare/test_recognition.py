"""A file that is no text in UTF-8 is called by what it is; skipping its rows is not the remedy."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from coterie.contract import Contract, DataSection
from coterie.data.prepare.compression import RawFile
from coterie.data.prepare.preparation import prepare
from coterie.data.prepare.reader import CriteoReader
from coterie.errors import RawDataInvalid

DATA = DataSection(numeric=("I1", "I2"), categorical=("C1", "C2"))
TEXT = b"".join(b"%d\t%d\t-3\ta\xc3\xa4\tccc\n" % (i % 2, i) for i in range(200))
MANY = 1_000_000


def zipped(text: bytes) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("train.txt", text)
    return target.getvalue()


def tarred(text: bytes) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        member = tarfile.TarInfo("train.txt")
        member.size = len(text)
        archive.addfile(member, io.BytesIO(text))
    return target.getvalue()


@pytest.mark.parametrize(
    ("content", "kind", "remedy"),
    [
        (zipped(TEXT), "ZIP", "unpack"),
        (tarred(TEXT), "tar archive", "tar -xf"),
        (gzip.compress(tarred(TEXT)), "tar archive", "tar -xf"),
        (bz2.compress(TEXT), "bzip2", "bunzip2"),
        (lzma.compress(TEXT, format=lzma.FORMAT_ALONE), "lzma", "xz -d"),
        (gzip.compress(gzip.compress(TEXT)), "twice", "once"),
        (lzma.compress(gzip.compress(TEXT)), "twice, with gzip", "once"),
        (b"\x04\x22\x4d\x18" + TEXT, "lz4", "lz4 -d"),
        (b"PAR1\x15\x04" + TEXT, "Parquet", "CSV"),
        (b"SQLite format 3\0" + TEXT, "SQLite", "CSV"),
        (b"COTSHARD" + TEXT, "file of Coterie", "raw file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS", "git lfs pull"),
        (b"\n<!DOCTYPE html>\n<html>", "web page", "download"),
        (b'{"label": 1, "I1": 2}\n' * 20, "JSON", "CSV"),
        (TEXT.decode().encode("utf-16"), "UTF-16", "iconv -f UTF-16 "),
        (b"\xfe\xff" + TEXT.decode().encode("utf-16-be"), "UTF-16", "iconv"),
        (TEXT.decode().encode("utf-32"), "UTF-32", "iconv -f UTF-32 "),
        (TEXT.decode().encode("utf-16-le"), "UTF-16LE", "iconv -f UTF-16LE "),
        (TEXT.decode().encode("utf-16-be"), "UTF-16BE", "iconv -f UTF-16BE "),
        (bytes(range(256)) * 40, "no text", "file FILE"),
        (TEXT.replace(b"\n", b"\r"), "carriage returns alone", "tr "),
    ],
)
@pytest.mark.parametrize("max_bad_rows", [0, MANY])
def test_what_a_file_is_is_said(
    content: bytes,
    kind: str,
    remedy: str,
    max_bad_rows: int,
    tmp_path: Path,
    make_contract: Callable[[str, dict[str, int]], Contract],
) -> None:
    contract = make_contract("hfl", {}).model_copy(update={"data": DATA})
    path = tmp_path / "raw.txt"
    path.write_bytes(content)
    with pytest.raises(RawDataInvalid, match="no file of rows") as refusal:
        prepare(path, tmp_path / "out", contract, max_bad_rows=max_bad_rows)
    assert kind in refusal.value.seen
    assert remedy in refusal.value.remedy
    assert "--max-bad-rows" not in refusal.value.remedy


def test_single_lines_in_another_encoding_are_rows_to_convert(tmp_path: Path) -> None:
    path = tmp_path / "raw.txt"
    path.write_bytes(TEXT.replace(b"a\xc3\xa4", b"a") + TEXT.decode().encode("latin-1"))
    with pytest.raises(RawDataInvalid, match="do not fit") as refusal:
        list(CriteoReader(RawFile(path), DATA).rows())
    assert "line 201: not valid UTF-8" in refusal.value.seen
    assert "iconv -f WINDOWS-1252 -t UTF-8" in refusal.value.remedy


@pytest.mark.parametrize("start", ["PAR1", "ORCID", "BZh", "LZIP", "x\u2028y"])
def test_headers_that_begin_as_a_signature_does_are_headers(start: str, tmp_path: Path) -> None:
    path = tmp_path / "raw.txt"
    path.write_text(f"{start},label,I1,I2,C1,C2\n" + "z,1,2,3,a,b\n" * 9, encoding="utf-8")
    assert sum(len(rows.labels_b) for rows in CriteoReader(RawFile(path), DATA).rows()) == 9
