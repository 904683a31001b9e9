"""The guest's first program, in its initial file system: from the kernel to the verified root.

It has nothing but the kernel, its modules and an interpreter. Whatever fails here ends the machine.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from coterie.errors import CoterieError, EnvironmentUnfit
from coterie.guest import kernel
from coterie.guest.command_line import read_settings

#: Folder of the image's modules, named so that they sort in the order of loading.
MODULES: Final = "modules"
ROOT_NAME: Final = "coterie-root"
ENVIRONMENT: Final = {
    "HOME": "/tmp",  # noqa: S108
    "LC_ALL": "C.UTF-8",
    "LD_LIBRARY_PATH": "/opt/coterie/lib:/opt/coterie/lib/system",
    "PATH": "/nowhere",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}

_KERNEL_EVENTS = 15  # NETLINK_KOBJECT_UEVENT
_KERNELS_GROUP = 1
_EVENT_BYTES = 1 << 16
_PATIENCE_SECONDS = 30.0
_NEW_ROOT = "/sysroot"


def main() -> None:
    """Starts the program in the verified root; returns only by ending the machine."""
    try:
        _start()
    except (CoterieError, OSError) as error:
        sys.stdout.write(f"error: {error}\n")
        sys.stdout.flush()
        kernel.power_off()


def _start() -> None:
    for kind, target in (("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev")):
        Path(target).mkdir(exist_ok=True)
        kernel.mount(kind, target)
    settings = read_settings(Path("/proc/cmdline").read_text())
    for path in sorted(Path("/", MODULES).iterdir()):
        kernel.load_module(path)
    partition = wait_for(lambda: partition_named(ROOT_NAME, Path("/sys/class/block")))
    kernel.make_device(settings.root, ROOT_NAME, f"/dev/{partition}")
    Path(_NEW_ROOT).mkdir()
    kernel.mount("squashfs", _NEW_ROOT, source="/dev/dm-0", flags=kernel.READ_ONLY)
    os.chdir(_NEW_ROOT)
    kernel.mount("none", "/", source=".", flags=kernel.MOVE)
    os.chroot(".")
    os.chdir("/")
    # The interpreter has the same place there.
    command = [sys.executable, "-I", "-B", "-X", "faulthandler", "-m", "coterie.guest"]
    os.execve(sys.executable, command, ENVIRONMENT)  # noqa: S606 - there is no shell


def partition_named(name: str, folder: Path) -> str | None:
    """The device of the partition with a name, if there is one.

    Args:
        name: The partition's name in its table.
        folder: The kernel's list of block devices.
    """
    line = f"PARTNAME={name}"
    for device in sorted(folder.iterdir()):
        if line in (device / "uevent").read_text().splitlines():
            return device.name
    return None


def wait_for(find: Callable[[], str | None]) -> str:
    """Waits until the kernel has found a device.

    Args:
        find: Looks for it; called again after every event of the kernel.

    Raises:
        EnvironmentUnfit: It does not appear within half a minute.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _KERNEL_EVENTS) as events:
        events.bind((0, _KERNELS_GROUP))
        events.settimeout(_PATIENCE_SECONDS)
        while True:
            found = find()
            if found is not None:
                return found
            try:
                events.recv(_EVENT_BYTES)
            except TimeoutError as error:
                raise EnvironmentUnfit(
                    "the image's own disk is not there",
                    expected=f"a partition {ROOT_NAME}",
                    seen=f"none after {_PATIENCE_SECONDS:.0f} s without another device",
                    remedy="attach the whole image as a disk",
                ) from error
