"""The launch digest under SEV-SNP is what the specifications say: `sev-snp-measure` against a second computation."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from coterie.errors import EnvironmentUnfit, UsageError
from coterie.guest.launch import SnpMachine, launch_digest
from tests.guest.launch_reference import expected_digest, firmware

pytest.importorskip("sevsnpmeasure", reason="sev-snp-measure is not installed")

KERNEL = b"a unified kernel image"
# CPUID's leaf 1, EAX: family, model and stepping of what QEMU calls so.
MODELS = {"EPYC-v4": 0x00800F12, "EPYC-Milan": 0x00A00F11, "EPYC-Genoa": 0x00A10F10}


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    path = tmp_path / "guest.efi"
    path.write_bytes(KERNEL)
    return path


@pytest.fixture
def machine(tmp_path: Path) -> SnpMachine:
    path = tmp_path / "firmware.fd"
    path.write_bytes(firmware())
    return SnpMachine(path, 1, "EPYC-v4")


@pytest.mark.parametrize("processors", [1, 2, 64])
@pytest.mark.parametrize("model", MODELS)
def test_it_is_what_a_second_computation_gives(
    kernel: Path, machine: SnpMachine, model: str, processors: int
) -> None:
    measured = dataclasses.replace(machine, model=model, processors=processors)
    expected = expected_digest(
        firmware(), KERNEL, processors=processors, signature=MODELS[model], features=1
    )
    assert launch_digest(kernel, measured).hex() == expected.hex()


def test_the_kernel_is_part_of_it(kernel: Path, machine: SnpMachine) -> None:
    before = launch_digest(kernel, machine)
    kernel.write_bytes(KERNEL + b"\0")
    assert launch_digest(kernel, machine) != before


def test_the_firmware_is_part_of_it(kernel: Path, machine: SnpMachine) -> None:
    before = launch_digest(kernel, machine)
    machine.firmware.write_bytes(firmware(pages=3))
    assert launch_digest(kernel, machine) != before


def test_what_is_no_firmware_is_refused(kernel: Path, machine: SnpMachine) -> None:
    with pytest.raises(EnvironmentUnfit, match="launch digest cannot be computed") as refused:
        launch_digest(kernel, dataclasses.replace(machine, firmware=kernel))
    assert "AmdSev" in refused.value.expected


def test_an_unknown_model_of_processors_is_refused(kernel: Path, machine: SnpMachine) -> None:
    with pytest.raises(UsageError, match="processors is not known") as refused:
        launch_digest(kernel, dataclasses.replace(machine, model="486"))
    assert refused.value.seen == "486"
