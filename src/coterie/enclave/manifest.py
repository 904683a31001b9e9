"""Renders an image's Gramine manifest from the template and ``Settings``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from string import Template
from typing import Final

from coterie.enclave.contents import ImageName
from coterie.enclave.layout import HOME
from coterie.enclave.staging import StagedFile
from coterie.errors import EnvironmentUnfit

#: Folder of the C library for enclaves in Debian's and Ubuntu's packages of Gramine.
RUNTIME: Final = "/usr/lib/x86_64-linux-gnu/gramine/runtime/glibc"

#: SGX product numbers (ISV_PROD_ID) by image; contracts that name a signer name one of them.
PRODUCTS: Final[dict[ImageName, int]] = {"ps": 1, "worker": 2, "tensorflow": 3}

# gramine-direct has no sealing keys: the key is in the manifest and is not secret.
_DIRECT_KEY: Final = 'insecure__keys.direct = "00112233445566778899aabbccddeeff"\n'
_TEMPLATE = Path(__file__).with_name("manifest.template")


@dataclass(frozen=True)
class Settings:
    """The values that differ between manifests, beside the measured files.

    Attributes:
        image: Kind of its nodes.
        size_gib: Enclave size, or with EDMM its upper limit.
        max_threads: Thread slots that exist from the start.
        security_version: ISV_SVN; incremented by every release that fixes a vulnerability.
        direct: Whether it is for ``gramine-direct``, which runs without SGX and proves nothing.
        runtime: Gramine's own C library, on the host.
    """

    image: ImageName
    size_gib: int
    max_threads: int
    security_version: int = 1
    direct: bool = False
    runtime: str = RUNTIME

    @property
    def argv(self) -> list[str]:
        """The node's command line."""
        python = f"python{sys.version_info.major}.{sys.version_info.minor}"
        fixed = [python, "-I", "-B", "-m", "coterie.enclave"]
        return [*fixed, "direct"] if self.direct else fixed

    @property
    def key_name(self) -> str:
        """Gramine's name of the key that encrypts the node's files."""
        return "direct" if self.direct else "_sgx_mrenclave"


def render_manifest(settings: Settings, files: Iterable[StagedFile]) -> str:
    """The manifest's text. It is reproducible: the same image gives the same text.

    Args:
        settings: The values that vary.
        files: The image's files.

    Raises:
        EnvironmentUnfit: The image has no CA certificates.
    """
    listed = sorted(files, key=lambda file: file.path.as_posix())
    certificates = _only(listed, "certifi/cacert.pem", "CA certificates")
    preload = ""
    if settings.image == "tensorflow":
        library = _only(
            listed, "native/libattested_sockets.so", "native part for TensorFlow programs"
        )
        preload = f'LD_PRELOAD = "{HOME / library}"\n'
    return Template(_TEMPLATE.read_text()).substitute(
        python=settings.argv[0],
        argv=json.dumps(settings.argv),
        certificates=certificates,
        runtime=settings.runtime,
        key_name=settings.key_name,
        preload=preload,
        insecure_key=_DIRECT_KEY if settings.direct else "",
        size_gib=settings.size_gib,
        max_threads=settings.max_threads,
        product=PRODUCTS[settings.image],
        security_version=settings.security_version,
        trusted_files="\n".join(
            f'  {{ uri = {json.dumps(f"file:home/{file.path}")}, sha256 = "{file.sha256.hex()}" }},'
            for file in listed
        ),
    )


def _only(files: Iterable[StagedFile], pattern: str, what: str) -> PurePosixPath:
    """The file of an image that the manifest itself names."""
    found = [file.path for file in files if file.path.match(pattern)]
    if len(found) == 1:
        return found[0]
    raise EnvironmentUnfit(
        f"the image has no {what}",
        expected=f"one file {pattern}",
        seen=str(len(found)),
        remedy="install the lock file again, into an empty virtual environment",
    )
