"""Checks a manifest against the allow-list of settings for Coterie's enclaves.

The list is separate from the template on purpose, so that a change to one needs a change to the
other. It knows what Gramine's tools add to a manifest. Any other key or value is refused, above all
one that would let the host choose code, arguments, environment or files.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from coterie.errors import ManifestRefused
from coterie.files import read_bounded

MAX_MANIFEST_BYTES = 64 << 20
_PLAIN = re.compile(r"[A-Za-z0-9_]+")
_HEX32 = re.compile(r"[0-9a-f]{64}")
_RUNTIME_FOLDER = re.compile(r"file:/[A-Za-z0-9._/+-]*gramine/runtime/glibc/")
_MEASURED = re.compile(_RUNTIME_FOLDER.pattern + r"[ -~]+|file:home/[ -~]+")

Value = object


@dataclass(frozen=True)
class Finding:
    """A setting that a manifest must not have.

    Attributes:
        key: Its dotted name.
        expected: The allowed value.
        seen: The value in the manifest.
    """

    key: str
    expected: str
    seen: str


@dataclass(frozen=True)
class _Rule:
    expected: str
    holds: Callable[[Value], bool]
    optional: bool = False


def _is(value: Value, *, optional: bool = False) -> _Rule:
    return _Rule(repr(value), lambda seen: type(seen) is type(value) and seen == value, optional)


def _like(pattern: str, expected: str, *, optional: bool = False) -> _Rule:
    compiled = re.compile(pattern)
    return _Rule(
        expected, lambda seen: isinstance(seen, str) and bool(compiled.fullmatch(seen)), optional
    )


def _number(low: int, high: int) -> _Rule:
    return _Rule(f"{low} to {high}", lambda seen: type(seen) is int and low <= seen <= high)


def _command(value: Value) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 5
        and bool(re.fullmatch(r"python3\.[0-9]{1,2}", str(value[0])))
        and value[1:] == ["-I", "-B", "-m", "coterie.enclave"]
    )


def _mounts(value: Value) -> bool:
    if not isinstance(value, list) or len(value) != len(_MOUNTS):
        return False
    return all(
        isinstance(seen, dict)
        and seen.keys() == wanted.keys()
        and all(re.fullmatch(wanted[key], str(seen[key])) for key in wanted)
        for seen, wanted in zip(value, _MOUNTS, strict=True)
    )


_GRAMINE = r"file:/[A-Za-z0-9._/+-]*gramine/"
_MOUNTS: Final[tuple[dict[str, str], ...]] = (
    {"type": "tmpfs", "path": "/tmp"},  # noqa: S108 - inside of the enclave
    {"path": "/lib", "uri": _GRAMINE + "runtime/glibc"},
    {"path": "/opt/coterie", "uri": "file:home"},
    {"path": "/etc/hosts", "uri": "file:home/etc/hosts"},
    {"path": "/coterie/inputs", "uri": "file:inputs"},
    {"path": "/coterie/data", "uri": "file:data"},
    {"path": "/coterie/out", "uri": "file:out"},
    {
        "type": "encrypted",
        "path": "/coterie/memory",
        "uri": "file:memory",
        "key_name": "_sgx_mrenclave",
    },
)
_ALLOWED = ["file:inputs/", "file:data/", "file:out/"]
_ENVIRONMENT: Final[dict[str, str]] = {
    "LD_LIBRARY_PATH": "/lib:/opt/coterie/lib:/opt/coterie/lib/system",
    "PATH": "/opt/coterie/bin",
    "HOME": "/tmp",  # noqa: S108 - inside of the enclave
    "LC_ALL": "C.UTF-8",
    "MALLOC_ARENA_MAX": "4",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "KERAS_BACKEND": "tensorflow",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "CUDA_VISIBLE_DEVICES": "-1",
    "GRPC_VERBOSITY": "ERROR",
}
_RULES: Final[dict[str, _Rule]] = {
    "libos.entrypoint": _like(r"/opt/coterie/bin/python3\.[0-9]{1,2}", "the image's interpreter"),
    "loader.log_level": _is("error"),
    "loader.argv": _Rule("python3.N -I -B -m coterie.enclave, and nothing else", _command),
    **{f"loader.env.{name}": _is(value) for name, value in _ENVIRONMENT.items()},
    "loader.env.SSL_CERT_FILE": _like(
        r"/opt/coterie/lib/python3\.[0-9]{1,2}/site-packages/certifi/cacert\.pem",
        "the image's CA certificates",
    ),
    "loader.env.LD_PRELOAD": _like(
        r"/opt/coterie/lib/python3\.[0-9]{1,2}/site-packages/coterie/tensorflow/native/"
        r"libattested_sockets\.so",
        "the image's own native part",
        optional=True,
    ),
    "loader.entrypoint.uri": _like(_GRAMINE + r"libsysdb\.so", "Gramine's LibOS", optional=True),
    "loader.entrypoint.sha256": _like(_HEX32.pattern, "a SHA-256", optional=True),
    "fs.start_dir": _is("/"),
    "fs.root.type": _is("tmpfs"),
    "fs.mounts": _Rule("the mounts of enclave/manifest.template, in its order", _mounts),
    "sys.stack.size": _is("8M"),
    "sys.fds.limit": _is(4096),
    "sys.disallow_subprocesses": _is(value=True),
    "sys.enable_sigterm_injection": _is(value=True),
    "sys.enable_extra_runtime_domain_names_conf": _is(value=True),
    "sgx.debug": _is(value=False),
    "sgx.remote_attestation": _is("dcap"),
    "sgx.file_check_policy": _is("strict"),
    "sgx.edmm_enable": _is(value=True),
    "sgx.enclave_size": _like(r"[1-9][0-9]{0,3}G", "a size in GiB"),
    "sgx.max_threads": _number(1, 65_536),
    "sgx.isvprodid": _number(1, 3),
    "sgx.isvsvn": _number(1, 65_535),
    "sgx.use_exinfo": _is(value=False),
    "sgx.allowed_files": _is(_ALLOWED),
    # Defaults that gramine-manifest writes.
    "sgx.enable_stats": _is(value=False, optional=True),
    "sgx.cpu_features.avx": _is("unspecified", optional=True),
    "sgx.cpu_features.avx512": _is("unspecified", optional=True),
    "sgx.cpu_features.amx": _is("unspecified", optional=True),
    "sgx.cpu_features.mpx": _is("disabled", optional=True),
    "sgx.cpu_features.pkru": _is("disabled", optional=True),
}
_TRUSTED = "sgx.trusted_files"


def check_manifest(text: str) -> None:
    """Refuses a manifest with any setting that is not known to be safe.

    Args:
        text: The manifest, TOML, as rendered or as Gramine's tools have completed it.

    Raises:
        ManifestRefused: It has findings; the error names the first and their number.
    """
    found = tuple(findings(text))
    if found:
        first = found[0]
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise ManifestRefused(
            f"the manifest's {first.key} is not what an enclave of Coterie may have{more}",
            expected=first.expected,
            seen=first.seen,
        )


def read_manifest(path: Path) -> str:
    """A manifest's text.

    Raises:
        ManifestRefused: It cannot be read, or is too large.
    """
    try:
        octets = read_bounded(path, MAX_MANIFEST_BYTES)
        if len(octets) <= MAX_MANIFEST_BYTES:
            return octets.decode()
        seen = f"more than {MAX_MANIFEST_BYTES} bytes"
    except OSError as error:
        seen = error.strerror or type(error).__name__
    except UnicodeDecodeError:
        seen = "bytes that are no UTF-8"
    raise ManifestRefused(
        f"the manifest {path} cannot be read",
        expected="a Gramine manifest, TOML",
        seen=seen,
        remedy="name what coterie build gramine wrote",
    )


def findings(text: str) -> Iterator[Finding]:
    """Every setting of a manifest that is not allowed or missing."""
    try:
        manifest = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        yield Finding("TOML", "TOML 1.0", str(error)[:200])
        return
    settings: dict[str, Value] = {}
    for parts, value in _flatten(manifest, ()):
        # The quoted key "sgx.debug" differs from debug in [sgx] and must not be taken for it.
        if all(_PLAIN.fullmatch(part) for part in parts):
            settings[".".join(parts)] = value
        else:
            yield Finding(repr(parts)[:200], "keys of letters, digits and _", _shown(value))
    trusted = settings.pop(_TRUSTED, None)
    for key, value in settings.items():
        rule = _RULES.get(key)
        if rule is None:
            yield Finding(key, "not set", _shown(value))
        elif not rule.holds(value):
            yield Finding(key, rule.expected, _shown(value))
    for key, rule in _RULES.items():
        if key not in settings and not rule.optional:
            yield Finding(key, rule.expected, "not set")
    yield from _trusted(trusted)


def _trusted(value: Value) -> Iterator[Finding]:
    if not isinstance(value, list) or not value:
        yield Finding(_TRUSTED, "the image's files", _shown(value))
        return
    for entry in value:
        if not _is_measured(entry):
            expected = "files of the image and of Gramine's runtime, with SHA-256"
            yield Finding(_TRUSTED, expected, _shown(entry))


def _is_measured(entry: Value) -> bool:
    """Whether an entry is a file with a digest in an allowed folder, or the runtime's folder."""
    match entry:
        case {"uri": str(uri), "sha256": str(digest), **rest} if not rest:
            climbs = ".." in uri.split("/")
            return bool(_MEASURED.fullmatch(uri) and _HEX32.fullmatch(digest)) and not climbs
        case {"uri": str(uri), **rest} if not rest:
            return bool(_RUNTIME_FOLDER.fullmatch(uri))
        case str(uri):
            return bool(_RUNTIME_FOLDER.fullmatch(uri))
        case _:
            return False


def _flatten(
    table: dict[str, Value], above: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Value]]:
    for key, value in table.items():
        if isinstance(value, dict) and value:
            yield from _flatten(value, (*above, key))
        else:
            yield (*above, key), value


def _shown(value: Value) -> str:
    return "not set" if value is None else repr(value)[:200]
