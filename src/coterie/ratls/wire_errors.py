"""Transfers Coterie's errors: its fields as bounded JSON; over gRPC also a status code."""

from __future__ import annotations

import json
from typing import cast

import grpc

from coterie import errors
from coterie.errors import CoterieError, error_from_dict
from coterie.text import printable

ERROR_KEY = "coterie-error-bin"
_FIELDS = ("error", "what", "expected", "seen", "remedy", "failed_check")
MAX_ERROR_BYTES = 4096
_MAX_FIELD = 400
_CODES: tuple[tuple[type[CoterieError], grpc.StatusCode], ...] = (
    (errors.TrustError, grpc.StatusCode.PERMISSION_DENIED),
    (errors.PeerBusy, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (errors.MessageRefused, grpc.StatusCode.INVALID_ARGUMENT),
    (errors.CoterieError, grpc.StatusCode.FAILED_PRECONDITION),
)


def status_code(error: CoterieError) -> grpc.StatusCode:
    """The gRPC status that an error becomes."""
    return next(code for kind, code in _CODES if isinstance(error, kind))


def error_metadata(error: CoterieError) -> tuple[tuple[str, bytes], ...]:
    """The trailing metadata that carries an error's fields."""
    return ((ERROR_KEY, error_octets(error)),)


def error_octets(error: CoterieError) -> bytes:
    """An error's fields as JSON, at most ``MAX_ERROR_BYTES``."""
    fields = {key: printable(text, _MAX_FIELD) for key, text in error.to_dict().items()}
    return json.dumps(fields, separators=(",", ":")).encode()


def error_of(call: grpc.RpcError) -> CoterieError | None:
    """The error that the server raised, rebuilt.

    Args:
        call: The exception of a stub.

    Returns:
        An error of the same class; None if the call failed for another reason (the connection
        broke, a deadline passed), or if the fields are malformed.
    """
    metadata = cast("tuple[tuple[str, str | bytes], ...]", call.trailing_metadata() or ())
    for key, value in metadata:
        if key == ERROR_KEY and isinstance(value, bytes):
            return read_error(value)
    return None


def read_error(data: bytes) -> CoterieError | None:
    """The error in a peer's JSON; None if it is too long or malformed."""
    if len(data) > MAX_ERROR_BYTES:
        return None
    try:
        value: object = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    fields = {}
    for key in _FIELDS:
        text = value.get(key, "")
        if not isinstance(text, str):
            return None
        fields[key] = printable(text, _MAX_FIELD)
    return error_from_dict(fields)
