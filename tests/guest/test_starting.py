"""The first process: it finds the image's partition, tells the PCRs, and outlives its node."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from coterie.enclave.contents import DISTRIBUTIONS, IMAGES, ImageName
from coterie.guest.early import partition_named
from coterie.guest.starting import authorities, reported_pcrs, wait_for_child


def test_a_partition_is_found_by_its_name(tmp_path: Path) -> None:
    for name, line in {"vda": "", "vda1": "PARTNAME=coterie-efi", "vda2": "PARTNAME=root"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "uevent").write_text(f"DEVNAME={name}\n{line}\n")
    assert partition_named("root", tmp_path) == "vda2"
    assert partition_named("roo", tmp_path) is None


def test_pcrs_are_told_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    bank = tmp_path / "pcr-sha256"
    bank.mkdir()
    for number in (10, 9, 0):
        (bank / str(number)).write_text(f"AB{number}\n")
    assert list(reported_pcrs(tmp_path)) == [
        "guest: pcr 0 ab0",
        "guest: pcr 9 ab9",
        "guest: pcr 10 ab10",
    ]


def test_a_machine_without_a_tpm_says_so(tmp_path: Path) -> None:
    assert list(reported_pcrs(tmp_path)) == ["guest: no TPM with a bank of SHA-256"]


def test_the_images_own_authorities_are_those_of_its_node(tmp_path: Path) -> None:
    folder = tmp_path / "lib/python3.11/site-packages/certifi"
    folder.mkdir(parents=True)
    (folder / "cacert.pem").touch()
    assert authorities(tmp_path) == folder / "cacert.pem"


@pytest.mark.parametrize("image", IMAGES)
def test_every_image_has_authorities(image: ImageName) -> None:
    assert "certifi" in DISTRIBUTIONS[image]


def ended(program: str) -> int:
    """What a new first process gives for a program; it changes how its own process takes signals."""

    def failing() -> int:
        raise ValueError(program)

    def killed() -> int:
        os.kill(os.getpid(), 9)
        return 0

    programs = {"code": lambda: 7, "failing": failing, "killed": killed}
    child = os.fork()
    if child == 0:
        os._exit(wait_for_child(programs[program]) & 0xFF)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


@pytest.mark.system
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize(("program", "code"), [("code", 7), ("failing", 1), ("killed", 256 - 9)])
def test_the_nodes_end_is_told(program: str, code: int) -> None:
    assert ended(program) == code
