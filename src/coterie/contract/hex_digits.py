"""Octets as contracts write them: lower-case hex digits of one length."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field


def _hex(octets: int) -> object:
    return Field(pattern=rf"^[0-9a-f]{{{2 * octets}}}$")


Hex6 = Annotated[str, _hex(6)]
Hex8 = Annotated[str, _hex(8)]
Hex16 = Annotated[str, _hex(16)]
Hex20 = Annotated[str, _hex(20)]
Hex32 = Annotated[str, _hex(32)]
Hex48 = Annotated[str, _hex(48)]
Hex64 = Annotated[str, _hex(64)]
