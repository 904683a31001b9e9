"""Nodes that are started from enclave images: what tests share."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
import tomlkit

from coterie.enclave.building import HOST_FOLDERS, BuiltImage
from tests.system.conftest import Federation
from tests.system.loaded import LISTED

# What stands in for the enclave's mounts where there is no Gramine: the same entry, another root.
# At the end it lists what it has loaded of Coterie.
_ENTRY = f"""
import atexit, sys
from pathlib import Path
root = Path(sys.argv[1])
def listed():
    own = sorted(name for name in sys.modules if name.split(".")[0] == "coterie")
    (root / "{LISTED}").write_text("\\n".join(own))
atexit.register(listed)
from coterie.enclave.__main__ import main
sys.exit(main(["direct"], root=root))
"""


class Image:
    """A built image, from which nodes get a folder each."""

    def __init__(self, built: BuiltImage) -> None:
        self.home = built.folder / "home"
        self.folder = built.folder
        (self.python,) = (self.home / "bin").glob("python3.*")

    def place(self, folder: Path, inputs: dict[str, object], contract: Federation) -> None:
        """Makes a node's folder: what the manifest mounts, and what the host says."""
        for name in HOST_FOLDERS:
            (folder / name).mkdir(parents=True)
        (folder / "home").symlink_to(self.home)
        for manifest in self.folder.glob("coterie.manifest"):
            shutil.copy(manifest, folder)
        for path in contract.folder.glob("contract.toml*"):
            shutil.copy(path, folder / "inputs")
        (folder / "inputs" / "node.toml").write_text(tomlkit.dumps(inputs))


class EnclaveNode:
    """A node that was started from its folder alone."""

    def __init__(self, command: Sequence[str], folder: Path, env: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.said: list[str] = []

    def wait_event(self, kind: str) -> dict[str, object]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line)
            if line.startswith("{") and json.loads(line)["event"] == kind:
                return dict(json.loads(line))
        pytest.fail(f"the node ended without {kind}: {''.join(self.said[-5:])}")

    def finish(self) -> int:
        assert self.process.stdout is not None
        self.said += self.process.stdout.read().splitlines(keepends=True)
        return self.process.wait(120)


def python_command(image: Image, folder: Path) -> tuple[list[str], dict[str, str]]:
    """Command and environment of a node by the image's own interpreter, without a library OS."""
    (folder / "coterie").symlink_to(folder)
    env = {
        "LD_LIBRARY_PATH": f"{image.home}/lib:{image.home}/lib/system",
        "HOME": str(folder),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    return [str(image.python), "-I", "-B", "-c", _ENTRY, str(folder)], env
