"""Recognizes files that are not UTF-8 text, which gives a better error than bad rows.

A file with a known signature at its beginning is refused before a row is read. Without a signature,
the kind is only a guess from the first bytes, which is reported if rows are bad.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from coterie.errors import RawDataInvalid

HEAD_BYTES = 1 << 16
"""Number of a file's first bytes that are examined."""

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0e-\x1f\x7f]")
_UNPACK = "unpack it, and name the file of rows that is in it"
_TABLE = "write it as CSV in UTF-8 first"
_RECOMPRESS = "decompress it, or compress it with gzip, xz or zstd"
_CONVERT = "iconv -f {} -t UTF-8 FILE > NEW"


@dataclass(frozen=True)
class Finding:
    """The recognized kind of a file.

    Attributes:
        kind: The kind, as in "it is ...".
        remedy: How to convert it to rows.
    """

    kind: str
    remedy: str


_SIGNATURES: tuple[tuple[bytes, Finding], ...] = (
    (b"PK\x03\x04", Finding("a ZIP archive or a spreadsheet (.xlsx)", f"{_UNPACK}; save a spreadsheet as CSV in UTF-8")),
    (b"PK\x05\x06", Finding("an empty ZIP archive", _UNPACK)),
    (b"7z\xbc\xaf\x27\x1c", Finding("a 7z archive", _UNPACK)),
    (b"Rar!\x1a\x07", Finding("a RAR archive", _UNPACK)),
    (b"!<arch>\n", Finding("an ar archive", _UNPACK)),
    (b"\x1f\x8b", Finding("compressed twice, with gzip", "decompress it once")),
    (b"\xfd7zXZ\0", Finding("compressed twice, with xz", "decompress it once")),
    (b"\x28\xb5\x2f\xfd", Finding("compressed twice, with zstd", "decompress it once")),
    (b"BZh91AY&SY", Finding("compressed with bzip2", f"{_RECOMPRESS}: bunzip2 FILE")),
    (b"\x04\x22\x4d\x18", Finding("compressed with lz4", f"{_RECOMPRESS}: lz4 -d FILE")),
    (b"\x02\x21\x4c\x18", Finding("compressed with lz4", f"{_RECOMPRESS}: lz4 -d FILE")),
    (b"\x5d\x00\x00", Finding("compressed with lzma", f"{_RECOMPRESS}: xz -d FILE")),
    (b"\x1f\x9d", Finding("compressed with compress (.Z)", f"{_RECOMPRESS}: gzip -d FILE")),
    (b"\x1f\xa0", Finding("compressed with compress (.Z)", f"{_RECOMPRESS}: gzip -d FILE")),
    (b"LZIP\x01", Finding("compressed with lzip", f"{_RECOMPRESS}: lzip -d FILE")),
    (b"\x89LZO", Finding("compressed with lzop", f"{_RECOMPRESS}: lzop -d FILE")),
    (b"\xff\x06\x00\x00sNaPpY", Finding("compressed with snappy", _RECOMPRESS)),
    (b"PAR1\x15", Finding("a Parquet file", _TABLE)),
    (b"ARROW1\0", Finding("an Arrow file (Feather)", _TABLE)),
    (b"FEA1\0", Finding("a Feather file", _TABLE)),
    (b"ORC\x0a", Finding("an ORC file", _TABLE)),
    (b"Obj\x01", Finding("an Avro file", _TABLE)),
    (b"\x89HDF", Finding("an HDF5 file", _TABLE)),
    (b"\x93NUMPY", Finding("a NumPy file", _TABLE)),
    (b"SQLite format 3\0", Finding("an SQLite database", _TABLE)),
    (b"\xd0\xcf\x11\xe0", Finding("a spreadsheet or document of an old Office program (.xls)", "save it as CSV in UTF-8")),
    (b"\x80\x04\x95", Finding("a Python pickle", _TABLE)),
    (b"\x80\x05\x95", Finding("a Python pickle", _TABLE)),
    (b"%PDF-", Finding("a PDF document", _TABLE)),
    (b"{\\rtf", Finding("a document in RTF", _TABLE)),
    (b"\x7fELF", Finding("a program", "check the path")),
    (b"COTSHARD", Finding("a prepared file of Coterie", "name the raw file that it was prepared from")),
    (b"COTSEAL1", Finding("a sealed file of Coterie", "name the raw file")),
    (b"COTMODEL", Finding("a trained model of Coterie", "name the raw file; the model comes before it")),
    (b"version https://git-lfs", Finding("a pointer of Git LFS, not the file itself", "fetch the file: git lfs pull")),
    (b"-----BEGIN ", Finding("a key, a certificate or an encrypted message", "check the path; decrypt it first")),
)  # fmt: skip

_MARKUP = (
    (b"<!doctype", Finding("a web page", "download the file again: this is what the server answered")),
    (b"<html", Finding("a web page", "download the file again: this is what the server answered")),
    (b"<?xml", Finding("an XML file", _TABLE)),
    (b'{"', Finding("a JSON file", _TABLE)),
    (b"[{", Finding("a JSON file", _TABLE)),
    (b"[[", Finding("a JSON file", _TABLE)),
)  # fmt: skip

# The longer byte-order mark first: UTF-32's begins like UTF-16's.
_MARKS = (
    (b"\xff\xfe\0\0", "UTF-32"),
    (b"\0\0\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)


def refuse_what_is_no_text(head: bytes, name: str) -> None:
    """Refuses a file that is certainly not UTF-8 text.

    Args:
        head: Its first bytes, decompressed.
        name: Its name, for the error.

    Raises:
        RawDataInvalid: It is not UTF-8 text; the error names its kind.
    """
    if (found := recognised(head)) is not None:
        raise RawDataInvalid(
            f"{name} is no file of rows",
            expected="text in UTF-8, plain or compressed with gzip, xz or zstd",
            seen=found.kind,
            remedy=found.remedy,
        )


def recognised(head: bytes) -> Finding | None:
    """The kind of a file that is certainly not UTF-8 text, or None.

    Args:
        head: Its first bytes, decompressed.
    """
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return _encoded(encoding)
    for signature, finding in _SIGNATURES:
        if head.startswith(signature):
            return finding
    if head[257:262] == b"ustar" and head[262:263] in {b"\0", b" "}:
        return Finding("a tar archive", f"{_UNPACK}: tar -xf FILE")
    beginning = head[:256].lstrip().lower()
    return next((found for start, found in _MARKUP if beginning.startswith(start)), None)


def suspected(head: bytes) -> Finding | None:
    """The probable kind of a file with bad rows, a guess from its first bytes.

    Args:
        head: Its first bytes, decompressed.
    """
    for places, encoding in ((head[::2], "UTF-16BE"), (head[1::2], "UTF-16LE")):
        if len(places) >= 8 and places.count(0) > 0.7 * len(places):
            return _encoded(encoding)
    cut = head[: head.rfind(b"\n") + 1] or head[:-4]
    odd = len(_CONTROL.findall(cut)) + cut.decode(errors="replace").count(
        "\N{REPLACEMENT CHARACTER}"
    )
    if odd > 0.1 * len(cut):
        return Finding(
            "no text, or text in another encoding than UTF-8",
            "find out what it is (`file FILE`), and turn it into text in UTF-8",
        )
    if b"\n" not in head and head.count(b"\r") > 1:
        return Finding(
            "text whose lines end with carriage returns alone", "tr '\\r' '\\n' < FILE > NEW"
        )
    return None


NOT_UTF8 = "convert the file, if it is in another encoding: " + _CONVERT.format("WINDOWS-1252")
"""The remedy for single lines that are not valid UTF-8."""


def _encoded(encoding: str) -> Finding:
    return Finding(f"text in {encoding}", f"convert it to UTF-8: {_CONVERT.format(encoding)}")
