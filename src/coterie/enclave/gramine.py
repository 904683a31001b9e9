"""Runs Gramine's tools, if installed, which complete, measure and sign manifests."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from coterie.errors import EnvironmentUnfit

# SIGSTRUCT (Intel SDM 3D, "SIGSTRUCT"): sizes and offsets in bytes.
_SIGSTRUCT_BYTES = 1808
_MODULUS = slice(128, 512)
_ENCLAVE_HASH = slice(960, 992)

# RSA keys of enclaves have 3072 bits and the exponent 3 (Intel SDM 3D).
_SIGNING_BITS = 3072
_SIGNING_EXPONENT = 3

MANIFEST: Final = "coterie.manifest"


@dataclass(frozen=True)
class Measurement:
    """An enclave's identities.

    Attributes:
        mrenclave: SHA-256 over the enclave as it is loaded; 32 bytes.
        mrsigner: SHA-256 of the signer's modulus; None if unsigned.
    """

    mrenclave: bytes
    mrsigner: bytes | None


class GramineTools:
    """The installed tools.

    Args:
        manifest: Path of ``gramine-manifest``.
        sign: Path of ``gramine-sgx-sign``; None if Gramine was built without SGX.
    """

    def __init__(self, manifest: str, sign: str | None) -> None:
        self._manifest = manifest
        self._sign = sign

    @classmethod
    def installed(cls) -> GramineTools | None:
        """The tools on this machine's path, if any."""
        manifest = shutil.which("gramine-manifest")
        return None if manifest is None else cls(manifest, shutil.which("gramine-sgx-sign"))

    @property
    def signs(self) -> bool:
        """Whether Gramine was built with SGX, so that it can measure and sign."""
        return self._sign is not None

    def runtime(self) -> str:
        """The folder of Gramine's own C library for enclaves.

        Raises:
            EnvironmentUnfit: The tool fails.
        """
        with tempfile.TemporaryDirectory(prefix="coterie-build-") as scratch:
            folder = Path(scratch)
            # The smallest manifest that Gramine's schema accepts.
            template = 'libos.entrypoint = "{{ gramine.runtimedir() }}"\nfs.mounts = []\n'
            (folder / "probe").write_text(template)
            self._run(self._manifest, "probe", "rendered", folder=folder)
            rendered = tomllib.loads((folder / "rendered").read_text())
        return str(rendered["libos"]["entrypoint"])

    def complete(self, folder: Path, rendered: Path) -> Path:
        """Writes the manifest in the form that Gramine reads, and checks it against Gramine's schema.

        Raises:
            EnvironmentUnfit: Gramine does not accept it.
        """
        self._run(self._manifest, rendered.name, MANIFEST, folder=folder)
        return folder / MANIFEST

    def measure(self, folder: Path, key: Path | None) -> Measurement | None:
        """Makes ``coterie.manifest.sgx``, and with a key ``coterie.sig``.

        Args:
            folder: Holds the completed manifest, whose paths are relative to it.
            key: RSA private key of 3072 bits, exponent 3, PEM. Without one a temporary key makes
                the measurement, which does not depend on the key, and the signature is deleted.

        Returns:
            The measurement; None if Gramine was built without SGX.

        Raises:
            EnvironmentUnfit: Gramine does not sign.
        """
        if self._sign is None:
            return None
        with tempfile.TemporaryDirectory(prefix="coterie-build-") as scratch:
            signer = key if key is not None else _throw_away_key(Path(scratch))
            signature = folder / "coterie.sig" if key is not None else Path(scratch, "coterie.sig")
            self._run(
                *(self._sign, "--manifest", MANIFEST, "--output", f"{MANIFEST}.sgx"),
                *("--sigfile", str(signature), "--key", str(signer), "--quiet"),
                folder=folder,
            )
            octets = signature.read_bytes()
        if len(octets) != _SIGSTRUCT_BYTES:
            raise _unfit(self._sign, f"a SIGSTRUCT of {_SIGSTRUCT_BYTES} bytes", f"{len(octets)}")
        signed = hashlib.sha256(octets[_MODULUS]).digest() if key is not None else None
        return Measurement(octets[_ENCLAVE_HASH], signed)

    def _run(self, *arguments: str, folder: Path) -> None:
        try:
            said = subprocess.run(
                arguments, cwd=folder, capture_output=True, text=True, check=False
            )
        except OSError as error:
            raise _unfit(arguments[0], "a program", error.strerror or "none") from error
        if said.returncode != 0:
            raise _unfit(arguments[0], "exit code 0", (said.stderr + said.stdout).strip()[-400:])


def _throw_away_key(folder: Path) -> Path:
    key = rsa.generate_private_key(_SIGNING_EXPONENT, _SIGNING_BITS)
    path = folder / "key.pem"
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    )
    return path


def _unfit(tool: str, expected: str, seen: str) -> EnvironmentUnfit:
    return EnvironmentUnfit(
        f"{Path(tool).name} does not do what is needed",
        expected,
        seen,
        remedy="install Gramine 1.8 or 1.9, or build in the image of deploy/docker/Dockerfile",
    )
