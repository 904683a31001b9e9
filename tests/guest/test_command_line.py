"""The measured command line: what the kernel is told, and nothing else, is what programs read."""

from __future__ import annotations

import pytest

from coterie.errors import EnvironmentUnfit
from coterie.guest.command_line import Settings, read_settings
from coterie.guest.kernel import VerifiedRoot

SETTINGS = Settings(VerifiedRoot(bytes(range(32)), 14768), "tdx")


def test_it_is_read_as_it_was_written() -> None:
    assert read_settings(SETTINGS.text() + "\n") == SETTINGS


def test_the_kernel_guards_itself_against_its_programs() -> None:
    assert "lockdown=confidentiality" in SETTINGS.text().split()
    assert "panic=-1" in SETTINGS.text().split()


@pytest.mark.parametrize(
    "text",
    [
        "",
        SETTINGS.text() + " init=/bin/sh",
        "rdinit=/bin/sh " + SETTINGS.text(),
        SETTINGS.text().replace("lockdown=confidentiality ", ""),
        SETTINGS.text().replace("tdx", "sgx"),
        SETTINGS.text().replace("00010203", "0001020g"),
        SETTINGS.text().replace(":14768", ":014768"),
    ],
)
def test_any_other_is_refused(text: str) -> None:
    with pytest.raises(EnvironmentUnfit, match="started with other arguments") as refused:
        read_settings(text)
    assert refused.value.seen == text[:300]
