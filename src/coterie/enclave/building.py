"""Builds enclave images: lays files out, renders and checks the manifest, measures with Gramine."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import coterie
from coterie.contract import EnclaveSection
from coterie.enclave.contents import DISTRIBUTIONS, ImageName
from coterie.enclave.gramine import GramineTools, Measurement
from coterie.enclave.interpreter import interpreter_files, package_files
from coterie.enclave.libraries import system_libraries
from coterie.enclave.lint import check_manifest
from coterie.enclave.manifest import RUNTIME, Settings, render_manifest
from coterie.enclave.staging import image_digest, image_list, stage
from coterie.errors import EnvironmentUnfit, OutputInUse
from coterie.files import move_new
from coterie.tensorflow.native import load

RENDERED = "manifest.toml"
FILES = "files.sha256"
# Folders that the host puts beside the image before it starts a node; the manifest mounts them.
HOST_FOLDERS = ("inputs", "data", "out", "memory")


@dataclass(frozen=True)
class BuildOptions:
    """The settings of a build.

    Attributes:
        sizes: The contract's section, or its defaults.
        security_version: ISV_SVN of the enclaves.
        key: Key that signs the enclaves; without one they are only measured.
        direct: Whether the image is for ``gramine-direct``, which runs without SGX and proves
            nothing.
    """

    sizes: EnclaveSection
    security_version: int = 1
    key: Path | None = None
    direct: bool = False


@dataclass(frozen=True)
class BuiltImage:
    """A built image.

    Attributes:
        image: Kind of its nodes.
        folder: Its folder, in which nodes are started.
        files: Number of measured files.
        octets: Their total size in bytes.
        digest: SHA-256 of the list of files; 32 bytes.
        measurement: None without Gramine, or for ``gramine-direct``.
    """

    image: ImageName
    folder: Path
    files: int
    octets: int
    digest: bytes
    measurement: Measurement | None


def build_image(
    image: ImageName, out: Path, options: BuildOptions, tools: GramineTools | None
) -> BuiltImage:
    """Builds one image below ``out``, in a folder of its name.

    Args:
        image: Kind of its nodes.
        out: Parent folder; made if absent.
        options: The settings.
        tools: Gramine's tools, if installed.

    Raises:
        OutputInUse: The folder already exists.
        EnvironmentUnfit: The installation differs from the lock file, a tool fails, or a key is
            given that no tool can use.
        ManifestRefused: The rendered manifest has a setting that is not allowed.
    """
    _check_key(options, tools)
    folder = out / image
    if folder.exists():
        raise OutputInUse(
            f"the folder {folder} is there already", expected="a new folder", seen="an existing one"
        )
    out.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{image}-", dir=out))
    try:
        partial.chmod(0o755)
        built = _build(image, partial, options, tools)
        move_new(partial, folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return BuiltImage(image, folder, *built)


def _check_key(options: BuildOptions, tools: GramineTools | None) -> None:
    """Refuses a key that would not be used, so that no unsigned enclave is taken for signed."""
    if options.key is None or (tools is not None and tools.signs and not options.direct):
        return
    raise EnvironmentUnfit(
        "nothing signs with the key that was given",
        expected="an image for SGX, and gramine-sgx-sign",
        seen="--direct" if options.direct else "Gramine with SGX is not installed here",
        remedy="leave out --key; or build in the image of deploy/docker/Dockerfile",
    )


def _build(
    image: ImageName, folder: Path, options: BuildOptions, tools: GramineTools | None
) -> tuple[int, int, bytes, Measurement | None]:
    if image == "tensorflow":
        # The native part is compiled at installation: check that it exists and is of this source.
        load()
    lock = Path(coterie.__file__).parent / "requirements.lock"
    sources = [*interpreter_files(), *package_files(DISTRIBUTIONS[image], lock, image)]
    sources += system_libraries(sources)
    files = stage(sources, folder / "home")
    (folder / FILES).write_bytes(image_list(files))
    for name in HOST_FOLDERS:
        (folder / name).mkdir()
    sizes = options.sizes
    settings = Settings(
        image,
        size_gib=sizes.ps_size_gib if image == "ps" else sizes.size_gib,
        max_threads=sizes.max_threads,
        security_version=options.security_version,
        direct=options.direct,
        runtime=RUNTIME if tools is None else tools.runtime(),
    )
    text = render_manifest(settings, files)
    (folder / RENDERED).write_text(text)
    if not options.direct:
        check_manifest(text)
    measurement = None
    if tools is not None:
        completed = tools.complete(folder, folder / RENDERED)
        if not options.direct:
            check_manifest(completed.read_text())
            measurement = tools.measure(folder, options.key)
    octets = sum((folder / "home" / file.path).stat().st_size for file in files)
    return len(files), octets, image_digest(files), measurement
