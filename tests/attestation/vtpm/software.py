"""A software TPM (Debian: swtpm) in the place of Azure's virtual one."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

TOOLS = ("swtpm", "tpm2_startup", "tpm2_createek", "tpm2_createak", "tpm2_nvwrite")
INDEX, KEY = 0x01400001, 0x81000003


class Software:
    """A software TPM, and the tools that use it.

    Args:
        folder: Its state.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = str(folder / "socket")
        self.process = subprocess.Popen(
            [
                *("swtpm", "socket", "--tpm2", "--tpmstate", f"dir={folder}"),
                *("--server", f"type=unixio,path={self._path}"),
                *("--ctrl", f"type=unixio,path={self._path}.ctrl"),
                *("--flags", "not-need-init,startup-clear"),
            ]
        )

    def tool(self, *command: str) -> bytes:
        return subprocess.run(
            command,
            env={**os.environ, "TPM2TOOLS_TCTI": f"swtpm:path={self._path}"},
            cwd=self._folder,
            capture_output=True,
            check=True,
            timeout=60,
        ).stdout

    def exchange(self, command: bytes, limit: int) -> bytes:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(20)
            connection.connect(self._path)
            connection.sendall(command)
            return connection.recv(limit)

    def wait(self) -> None:
        """Waits until it listens; its process tells nothing of it."""
        until = time.monotonic() + 20
        while not Path(f"{self._path}.ctrl").is_socket():
            assert self.process.poll() is None, "swtpm has ended"
            assert time.monotonic() < until, "swtpm does not listen"

    def make_key(self) -> None:
        """Makes the attestation key, as Azure's paravisor does."""
        attributes = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign"
        self.tool(
            *("tpm2_createprimary", "-C", "o", "-G", "rsa2048:rsassa-sha256:null"),
            *("-a", attributes, "-c", "key"),
        )
        self.tool("tpm2_flushcontext", "-t")
        self.tool("tpm2_evictcontrol", "-C", "o", "-c", "key", hex(KEY))
        self.tool("tpm2_flushcontext", "-t")
        self.tool("tpm2_readpublic", "-c", hex(KEY), "-f", "pem", "-o", "key.pem")

    def write_nv(self, content: bytes) -> None:
        """Writes the NV index, as Azure's paravisor does."""
        rights = "ownerread|ownerwrite|authread|authwrite"
        self.tool("tpm2_nvdefine", "-C", "o", "-s", str(len(content)), "-a", rights, hex(INDEX))
        file = self._folder / "content"
        for at in range(0, len(content), 1024):
            file.write_bytes(content[at : at + 1024])
            where = ("--offset", str(at))
            self.tool("tpm2_nvwrite", "-C", "o", "-i", "content", *where, hex(INDEX))

    def key(self) -> rsa.RSAPublicKey:
        found = load_pem_public_key((self._folder / "key.pem").read_bytes())
        assert isinstance(found, rsa.RSAPublicKey)
        return found


@contextmanager
def software_tpm(folder: Path) -> Iterator[Software]:
    """A software TPM without key and NV index; skips where it is not installed."""
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        pytest.skip(f"no software TPM: {', '.join(missing)} (Debian: swtpm, tpm2-tools)")
    made = Software(folder)
    try:
        made.wait()
        yield made
    finally:
        made.process.kill()
        made.process.wait()
