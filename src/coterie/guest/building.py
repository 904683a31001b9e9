"""Builds guests: root, initial file system, unified kernel image, disk, and what is measured."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from coterie.attestation.measurement import package_measurement
from coterie.enclave.contents import ImageName
from coterie.enclave.staging import image_list
from coterie.errors import EnvironmentUnfit, OutputInUse
from coterie.files import move_new
from coterie.guest.command_line import GUEST_KINDS, Settings
from coterie.guest.disk import write_disk
from coterie.guest.events import boot_events
from coterie.guest.initrd import build_initrd
from coterie.guest.launch import SnpMachine, launch_digest
from coterie.guest.modules import modules_in_order
from coterie.guest.platform import Platform, missing_tools, run_ukify
from coterie.guest.registers import predicted_pcrs, predicted_rtmrs
from coterie.guest.root import HOST_LINKER, lay_out, make_root
from coterie.guest.tables import Measurements
from coterie.kinds import TeeKind
from coterie.tensorflow.native import load

DISK: Final = "disk.raw"
EXECUTABLE: Final = "guest.efi"
FILES: Final = "files.sha256"
MEASUREMENTS: Final = "measurements.json"


@dataclass(frozen=True)
class BuiltGuest:
    """A built image.

    Attributes:
        image: Kind of its nodes.
        folder: Its folder.
        octets: Size of the disk in bytes.
        root: The root's digest; 32 bytes.
        measured: What it determines of its measurements.
    """

    image: ImageName
    folder: Path
    octets: int
    root: bytes
    measured: Measurements


def build_guest(
    image: ImageName,
    out: Path,
    tee: TeeKind,
    platform: Platform,
    machine: SnpMachine | None = None,
) -> BuiltGuest:
    """Builds one image below ``out``, in a folder of its name.

    Args:
        image: Kind of its nodes.
        out: Parent folder; made if absent.
        tee: The kind of TEE whose contracts it runs; measured.
        platform: The files of Debian's packages.
        machine: Machine for the launch digest of SEV-SNP; not computed without it.

    Raises:
        OutputInUse: The folder already exists.
        EnvironmentUnfit: The kind of TEE has no guests, a tool is missing or fails, or the
            installation differs from the lock file.
    """
    _check(tee)
    folder = out / image
    if folder.exists():
        raise OutputInUse(
            f"the folder {folder} is there already", expected="a new folder", seen="an existing one"
        )
    out.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{image}-", dir=out))
    try:
        partial.chmod(0o755)
        built = _build(image, partial, tee, platform, machine)
        move_new(partial, folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return BuiltGuest(image, folder, *built)


def _check(tee: TeeKind) -> None:
    if tee not in GUEST_KINDS:
        raise EnvironmentUnfit(
            "this kind of TEE has no guests",
            expected=f"a contract with trust.tee = {' or '.join(GUEST_KINDS)}",
            seen=tee,
            remedy="use `coterie build gramine` for SGX",
        )
    missing = missing_tools()
    if missing:
        raise EnvironmentUnfit(
            "a guest cannot be built here",
            expected="programs of Debian's packages",
            seen=f"missing: {' '.join(missing)}",
            remedy=f"apt-get install {' '.join(missing)}",
        )


def _build(
    image: ImageName,
    folder: Path,
    tee: TeeKind,
    platform: Platform,
    machine: SnpMachine | None,
) -> tuple[int, bytes, Measurements]:
    if image == "tensorflow":
        # The native part is compiled at installation: check that it exists and is of this source.
        load()
    scratch = folder / "scratch"
    scratch.mkdir()
    files = lay_out(image, scratch / "root")
    (folder / FILES).write_bytes(image_list(files))
    home = scratch / "root" / "opt" / "coterie"
    root = make_root(scratch / "root", scratch / "root.squashfs")
    initrd = scratch / "initrd"
    initrd.write_bytes(build_initrd(home, HOST_LINKER, modules_in_order(platform.modules)))
    executable = folder / EXECUTABLE
    run_ukify(
        platform,
        [
            *("build", f"--stub={platform.stub}", f"--linux={platform.kernel}"),
            *(f"--initrd={initrd}", f"--cmdline={Settings(root, tee).text()}"),
            # Of a section .osrel the stub would make a second archive, unlike ours in PCR 9.
            *(f"--uname={platform.release}", "--os-release="),
            *("--efi-arch=x64", f"--output={executable}"),
        ],
    )
    disk = folder / DISK
    table = write_disk(disk, executable, scratch / "root.squashfs", root.digest)
    (package,) = home.glob("lib/python3.*/site-packages/coterie")
    started = executable.read_bytes()
    measured = Measurements(
        program=package_measurement(package, tensorflow=image == "tensorflow"),
        pcrs=predicted_pcrs(boot_events(started, table, "sha256"), "sha256"),
        rtmrs=predicted_rtmrs(boot_events(started, table, "sha384")),
        launch=None if machine is None else launch_digest(executable, machine),
    )
    shutil.rmtree(scratch)
    built = disk.stat().st_size, root.digest, measured
    (folder / MEASUREMENTS).write_text(
        json.dumps({**described(root.digest, measured), "built_of": platform.digests()}, indent=2)
        + "\n"
    )
    return built


def described(root: bytes, measured: Measurements) -> dict[str, object]:
    """The measurements as JSON has them, in hex."""
    return {
        "root": root.hex(),
        "program": measured.program.hex(),
        "pcrs_sha256": {str(pcr): value.hex() for pcr, value in measured.pcrs.items()},
        "rtmrs": {str(number): value.hex() for number, value in measured.rtmrs.items()},
        "snp_launch_measurement": None if measured.launch is None else measured.launch.hex(),
    }
