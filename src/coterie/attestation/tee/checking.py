"""Checks that all hardware TEEs make on a quote from the host: bound, parse, compare.

The host may answer with anything, for instance with an old quote. Peers would refuse it; a check
here gives a better error, on the machine at fault.
"""

from __future__ import annotations

import errno

from coterie.attestation.quote import MAX_QUOTE_BYTES, parse_quote
from coterie.errors import EnvironmentUnfit, EvidenceRefused

REPORT_DATA_BYTES = 64
READ_LIMIT = MAX_QUOTE_BYTES + 1


def require_report_data(report_data: bytes) -> None:
    """Raises if report data are not 64 bytes long, which is a defect of the caller."""
    if len(report_data) != REPORT_DATA_BYTES:
        raise ValueError(f"report data has {REPORT_DATA_BYTES} bytes, not {len(report_data)}")


def checked_quote(data: bytes, report_data: bytes, source: str) -> bytes:
    """Returns a fresh quote without padding, if it is well formed and over the report data.

    Raises:
        EnvironmentUnfit: It is not.
    """
    try:
        quote = parse_quote(data)
    except EvidenceRefused as error:
        what = f"{source} gave no usable quote: {error.what}"
        remedy = "configure the quoting service for ECDSA quotes with an embedded PCK chain"
        raise EnvironmentUnfit.because_of(error, what, remedy) from error
    if quote.report_data != report_data:
        raise over_something_else(source, report_data, quote.report_data)
    return quote.canonical


def over_something_else(source: str, report_data: bytes, seen: bytes) -> EnvironmentUnfit:
    """The error of a TEE whose fresh quote is over other report data."""
    return EnvironmentUnfit(
        f"{source} gave a quote over something else",
        expected=report_data.hex(),
        seen=seen.hex(),
        remedy="make sure that no other program of this TEE asks for quotes at the same time",
    )


def partly_taken(source: str, taken: int, remedy: str) -> EnvironmentUnfit:
    """The error of a TEE that took fewer bytes of report data than it was given."""
    what = f"{source} took a part of the report data"
    return EnvironmentUnfit(what, f"{REPORT_DATA_BYTES} bytes", f"{taken} bytes", remedy)


def unfit(source: str, action: str, error: OSError) -> EnvironmentUnfit:
    """The error for an operating system's error."""
    name = errno.errorcode.get(error.errno or 0, "unknown error")
    return EnvironmentUnfit(
        f"{source} failed to {action}",
        expected="a working TEE",
        seen=f"{name}: {error.strerror or error}",
        remedy="run `coterie doctor` on this machine; it tells what is missing",
    )
