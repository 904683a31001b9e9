"""Events of a start, and the registers after them, against what a TPM reported.

The values are those of swtpm under OVMF 2022.11, systemd-stub 257.13 and Linux 6.12.117.
"""

from __future__ import annotations

import uuid

import pytest

from coterie.errors import EnvironmentUnfit
from coterie.guest.disk import Partition, partition_table
from coterie.guest.events import BootEvent, boot_events
from coterie.guest.registers import predicted_pcrs, predicted_rtmrs, replay
from tests.guest.executables import UNIFIED, executable

# The partition table of the disk that was started.
EFI = uuid.UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
TABLE, _ = partition_table(
    (Partition(EFI, uuid.UUID(int=7), 2048, 131072, "esp"),), 135168, uuid.UUID(int=9)
)
REPORTED = {
    "Calling EFI Application from Boot Option": "3d6772b4f84ed475",
    "separator": "df3f619804a92fdb",
    "partition table": "db76de392d73d7fe",
    "name .linux": "0da293e37ad5511c",
    "name .cmdline": "461203a89f23e36c",
    "section .cmdline": "3ea0407a8cdc71d6",
    "name .initrd": "15ee37e75f1e8d42",
    "name .uname": "da7a6d941caa9d28",
    "section .uname": "e4d86b820871b1f0",
    "name .sbat": "ff552fd255be18a3",
    "command line": "cd773142715a513b",
    "Exit Boot Services Invocation": "d8043d6b7b85ad35",
    "Exit Boot Services Returned with Success": "b54f7542cbd872a8",
}
REPORTED_PCR_2 = "3d458cfe55cc03ea1f443f1562beec8df51c75e14a9fcf9a7234a13f198e7969"
REPORTED_PCR_5 = "20be9ce6729bbf298dea59f55fe673da9bdaa7e89e4e64158e642cd5046d0cea"


@pytest.fixture
def events() -> tuple[BootEvent, ...]:
    return boot_events(UNIFIED, TABLE, "sha256")


@pytest.mark.parametrize("what", REPORTED)
def test_an_event_has_the_digest_that_was_reported(
    events: tuple[BootEvent, ...], what: str
) -> None:
    digests = {event.digest.hex()[:16] for event in events if event.what == what}
    assert digests == {REPORTED[what]}


def test_a_pcr_with_a_separator_only_is_as_reported(events: tuple[BootEvent, ...]) -> None:
    (separator,) = {event.digest for event in events if event.what == "separator"}
    assert replay([separator], "sha256").hex() == REPORTED_PCR_2


def test_the_pcr_of_the_partition_table_is_as_reported(events: tuple[BootEvent, ...]) -> None:
    assert predicted_pcrs(events, "sha256")[5].hex() == REPORTED_PCR_5


def test_nothing_extends_what_the_host_could_add(events: tuple[BootEvent, ...]) -> None:
    pcrs = predicted_pcrs(events, "sha256")
    assert [pcr for pcr, value in pcrs.items() if value == bytes(32)] == [8, 12, 13, 14, 15]
    assert len(set(pcrs.values())) == 5


def test_tdx_has_the_same_events_in_fewer_registers_and_one_separator() -> None:
    listed = boot_events(UNIFIED, TABLE, "sha384")
    rtmrs = predicted_rtmrs(listed)
    names = [event.what for event in listed if event.pcr in (4, 5)]
    assert names[:4] == [
        "Calling EFI Application from Boot Option",
        "separator",
        "separator",
        "partition table",
    ]
    in_first = [event.digest for event in listed if event.pcr in (4, 5)]
    del in_first[2]
    assert rtmrs[1] == replay(in_first, "sha384")
    assert rtmrs[2] == replay([event.digest for event in listed if event.pcr in (9, 11)], "sha384")
    assert rtmrs[3] == bytes(48)


@pytest.mark.parametrize("change", [b"kernel", b"archive", b"panic=-1", b"stub"])
def test_every_part_changes_a_register(events: tuple[BootEvent, ...], change: bytes) -> None:
    changed = UNIFIED.replace(change, change[:-1] + b"#")
    assert changed != UNIFIED
    after = boot_events(changed, TABLE, "sha256")
    assert predicted_pcrs(after, "sha256")[4] != predicted_pcrs(events, "sha256")[4]


@pytest.mark.parametrize(
    ("parts", "seen"),
    [
        ({".text": b"", ".linux": b"x"}, "more: none; missing: .cmdline .initrd .uname .sbat"),
        (
            dict.fromkeys([".linux", ".cmdline", ".initrd", ".uname", ".sbat", ".dtb"], b"x"),
            "more: .dtb; missing: none",
        ),
    ],
)
def test_sections_that_nobody_predicted_are_refused(parts: dict[str, bytes], seen: str) -> None:
    with pytest.raises(EnvironmentUnfit, match="measurements of the image cannot") as refused:
        boot_events(executable(parts), TABLE, "sha256")
    assert refused.value.seen == seen
