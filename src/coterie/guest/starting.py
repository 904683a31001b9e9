"""The guest's first process in its verified root: file systems, inputs, network, then the node.

The node is a child, so that this process can wait for every process of the guest, and can end the
machine when the node ends. There is no shell, no login, no other program, and no way to start one.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from coterie.enclave.layout import HOME, Mounts
from coterie.errors import CoterieError, EnvironmentUnfit
from coterie.guest import kernel
from coterie.guest.command_line import read_settings
from coterie.guest.disks import HostDisks, find_disks, unpack_inputs
from coterie.guest.network import read_network, set_up, set_up_loopback
from coterie.kinds import TeeKind

#: Name of the guest's network settings among the inputs.
NETWORK: Final = "network.toml"
_STATE = "/coterie/state"
_PCRS = Path("/sys/class/tpm/tpm0")
_BANK = "pcr-sha256"
_FILE_SYSTEMS: Final = (
    ("proc", "/proc", kernel.FILES_ONLY),
    ("sysfs", "/sys", kernel.FILES_ONLY),
    ("devtmpfs", "/dev", kernel.NO_SUID | kernel.NO_PROGRAMS),
    ("tmpfs", "/tmp", kernel.FILES_ONLY),  # noqa: S108
    ("tmpfs", "/run", kernel.FILES_ONLY),
    ("tmpfs", "/coterie", kernel.FILES_ONLY),
    ("configfs", "/sys/kernel/config", kernel.FILES_ONLY),
)


def main() -> None:
    """Runs the guest to its end; never returns."""
    try:
        code = _run()
    except (CoterieError, OSError) as error:
        _say(f"error: {error}")
        code = error.exit_code if isinstance(error, CoterieError) else 1
    _say(f"guest: ends with code {code}")
    kernel.power_off()


def _run() -> int:
    for kind, target, flags in _FILE_SYSTEMS:
        kernel.mount(kind, target, flags=flags)
    Path("/proc/sys/kernel/sysrq").write_text("0")
    settings = read_settings(Path("/proc/cmdline").read_text())
    _say(f"guest: root {settings.root.digest.hex()}, for contracts with tee = {settings.tee}")
    for line in reported_pcrs(_PCRS):
        _say(line)
    mounts = Mounts()
    for folder in (mounts.inputs, mounts.data, mounts.out, mounts.memory):
        folder.mkdir()
    _mount_disks(find_disks(Path("/sys/class/block"), Path("/dev")), mounts)
    set_up_loopback()
    _set_up_network(mounts.inputs / NETWORK)
    os.environ["SSL_CERT_FILE"] = str(authorities(Path(HOME)))
    return wait_for_child(lambda: _run_node(settings.tee))


def authorities(home: Path) -> Path:
    """The image's CA certificates, by which a node trusts a PCCS or AMD's service; there are no others.

    Args:
        home: The folder of the node's image.
    """
    (found,) = home.glob("lib/python3.*/site-packages/certifi/cacert.pem")
    return found


def _mount_disks(disks: HostDisks, mounts: Mounts) -> None:
    if disks.inputs is None:
        raise EnvironmentUnfit(
            "the host has attached no inputs",
            expected="a disk that is a tar archive with contract.toml and node.toml",
            seen="none",
            remedy="attach one; docs/deployment.md shows how to make it",
        )
    unpack_inputs(Path("/dev", disks.inputs), mounts.inputs)
    if disks.data is not None:
        kernel.mount(
            *("ext4", str(mounts.data)),
            source=f"/dev/{disks.data}",
            flags=kernel.READ_ONLY | kernel.HOSTS_FILES,
            data="noload",
        )
    if disks.state is not None:
        Path(_STATE).mkdir()
        kernel.mount("ext4", _STATE, source=f"/dev/{disks.state}", flags=kernel.HOSTS_FILES)
        for folder in (mounts.out, mounts.memory):
            kept = Path(_STATE, folder.name)
            kept.mkdir(exist_ok=True)
            kernel.mount("none", str(folder), source=str(kept), flags=kernel.BIND)
    else:
        _say("guest: no state disk; outputs and the node's memory are lost when it ends")


def _set_up_network(path: Path) -> None:
    if not path.exists():
        _say(f"guest: no {NETWORK}; the guest reaches nobody")
        return
    inputs = read_network(path)
    Path("/run/resolv.conf").write_text(inputs.resolver())
    _say(f"guest: {set_up(inputs, Path('/sys/class/net'))} has the address {inputs.address}")


def _run_node(tee: TeeKind) -> int:
    command = [sys.executable, "-I", "-B", "-X", "faulthandler", "-m", "coterie.guest.node", tee]
    os.execve(sys.executable, command, os.environ)  # noqa: S606 - there is no shell


def wait_for_child(program: Callable[[], int]) -> int:
    """Runs a program in a new process, waits for every process that ends, and gives its exit code.

    Args:
        program: Gives its exit code. SIGTERM to this process is passed on to it.
    """
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = program()
        except BaseException:  # noqa: BLE001 - the process ends either way, and says why
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    signal.signal(signal.SIGTERM, lambda number, _: os.kill(child, number))
    while True:
        ended, status = os.wait()
        if ended == child:
            return os.waitstatus_to_exitcode(status)


def reported_pcrs(folder: Path) -> Iterator[str]:
    """The PCRs that the machine's TPM reports, a line each; nothing if it has none.

    Args:
        folder: The kernel's folder of the TPM.
    """
    bank = folder / _BANK
    if not bank.is_dir():
        yield "guest: no TPM with a bank of SHA-256"
        return
    for entry in sorted(bank.iterdir(), key=lambda one: int(one.name)):
        yield f"guest: pcr {entry.name} {entry.read_text().strip().lower()}"


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
