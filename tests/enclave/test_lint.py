"""The lint accepts what the template makes, and refuses everything that would let the host choose."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tomlkit

from coterie.enclave.lint import check_manifest, findings, read_manifest
from coterie.enclave.manifest import Settings, render_manifest
from coterie.errors import ManifestRefused
from tests.enclave.conftest import FILES, FILES_FOR_PROGRAMS

Change = Callable[[dict[str, Any]], object]


def _mount(index: int, **values: str) -> Change:
    return lambda m: m["fs"]["mounts"][index].update(values)


REFUSED: dict[str, tuple[str, Change]] = {
    "arguments of the host": (
        "loader.insecure__use_cmdline_argv",
        lambda m: m["loader"].update(insecure__use_cmdline_argv=True),
    ),
    "arguments from a file": (
        "loader.argv_src_file",
        lambda m: m["loader"].update(argv_src_file="file:inputs/argv"),
    ),
    "another program": ("loader.argv", lambda m: m["loader"]["argv"].__setitem__(4, "timeit")),
    "code as an argument": (
        "loader.argv",
        lambda m: m["loader"].update(argv=["python3.11", "-c", "print()"]),
    ),
    "one argument more": ("loader.argv", lambda m: m["loader"]["argv"].append("direct")),
    "without isolation": ("loader.argv", lambda m: m["loader"]["argv"].remove("-I")),
    "another entry point": (
        "libos.entrypoint",
        lambda m: m["libos"].update(entrypoint="/coterie/data/python3.11"),
    ),
    "the host's environment": (
        "loader.insecure__use_host_env",
        lambda m: m["loader"].update(insecure__use_host_env=True),
    ),
    "one variable of the host": (
        "loader.env.LD_PRELOAD.passthrough",
        lambda m: m["loader"]["env"].update(LD_PRELOAD={"passthrough": True}),
    ),
    "a known variable of the host": (
        "loader.env.HOME.passthrough",
        lambda m: m["loader"]["env"].update(HOME={"passthrough": True}),
    ),
    "one variable more": (
        "loader.env.PYTHONPATH",
        lambda m: m["loader"]["env"].update(PYTHONPATH="/coterie/inputs"),
    ),
    "libraries of the host": (
        "loader.env.LD_LIBRARY_PATH",
        lambda m: m["loader"]["env"].update(LD_LIBRARY_PATH="/coterie/data:/lib"),
    ),
    "a library of the host in front": (
        "loader.env.LD_PRELOAD",
        lambda m: m["loader"]["env"].update(LD_PRELOAD="/coterie/inputs/libattested_sockets.so"),
    ),
    "certificates of the host": (
        "loader.env.SSL_CERT_FILE",
        lambda m: m["loader"]["env"].update(SSL_CERT_FILE="/coterie/inputs/ca.pem"),
    ),
    "variables from a file": (
        "loader.env_src_file",
        lambda m: m["loader"].update(env_src_file="file:inputs/env"),
    ),
    "a chatty log": ("loader.log_level", lambda m: m["loader"].update(log_level="trace")),
    "a log file": ("loader.log_file", lambda m: m["loader"].update(log_file="log")),
    "another LibOS": (
        "loader.entrypoint.uri",
        lambda m: m["loader"].update(entrypoint={"uri": "file:/tmp/libsysdb.so"}),
    ),
    "no address randomization": (
        "loader.insecure__disable_aslr",
        lambda m: m["loader"].update(insecure__disable_aslr=True),
    ),
    "an allowed file more": (
        "sgx.allowed_files",
        lambda m: m["sgx"]["allowed_files"].append("file:home/lib/"),
    ),
    "everything allowed": (
        "sgx.file_check_policy",
        lambda m: m["sgx"].update(file_check_policy="allow_all_but_log"),
    ),
    "code from an allowed folder": ("fs.mounts", _mount(2, uri="file:inputs")),
    "memory in the clear": ("fs.mounts", lambda m: m["fs"]["mounts"][7].pop("type")),
    "memory under the signer's key": ("fs.mounts", _mount(7, key_name="_sgx_mrsigner")),
    "a mount more": (
        "fs.mounts",
        lambda m: m["fs"]["mounts"].append({"path": "/home", "uri": "file:/home"}),
    ),
    "mounts in another order": ("fs.mounts", lambda m: m["fs"]["mounts"].reverse()),
    "shared memory with the host": (
        "fs.mounts",
        lambda m: m["fs"]["mounts"].append(
            {"type": "untrusted_shm", "path": "/dev/shm", "uri": "dev:/dev/shm"}
        ),
    ),
    "a key in the manifest": (
        "fs.insecure__keys.default",
        lambda m: m["fs"].update(insecure__keys={"default": "00" * 16}),
    ),
    "the host's files as root": (
        "fs.root.uri",
        lambda m: m["fs"].update(root={"type": "chroot", "uri": "file:/"}),
    ),
    "a debug enclave": ("sgx.debug", lambda m: m["sgx"].update(debug=True)),
    "no attestation": (
        "sgx.remote_attestation",
        lambda m: m["sgx"].update(remote_attestation="none"),
    ),
    "attestation left out": (
        "sgx.remote_attestation",
        lambda m: m["sgx"].pop("remote_attestation"),
    ),
    "threads outside": (
        "sgx.insecure__rpc_thread_num",
        lambda m: m["sgx"].update(insecure__rpc_thread_num=8),
    ),
    "unchecked faults": (
        "sgx.insecure__allow_memfaults_without_exinfo",
        lambda m: m["sgx"].update(insecure__allow_memfaults_without_exinfo=True),
    ),
    "statistics": ("sgx.enable_stats", lambda m: m["sgx"].update(enable_stats=True)),
    "a profile": ("sgx.profile.enable", lambda m: m["sgx"].update(profile={"enable": "all"})),
    "eventfd of the host": (
        "sys.insecure__allow_eventfd",
        lambda m: m["sys"].update(insecure__allow_eventfd=True),
    ),
    "children": (
        "sys.disallow_subprocesses",
        lambda m: m["sys"].update(disallow_subprocesses=False),
    ),
    "devices": (
        "sys.allowed_ioctls",
        lambda m: m["sys"].update(allowed_ioctls=[{"request_code": 1}]),
    ),
    "mocked calls": (
        "sys.debug__mock_syscalls",
        lambda m: m["sys"].update(debug__mock_syscalls=[{"name": "getrandom"}]),
    ),
    "a size that is none": ("sgx.enclave_size", lambda m: m["sgx"].update(enclave_size="0G")),
    "a number as text": ("sgx.max_threads", lambda m: m["sgx"].update(max_threads="8")),
    "truth as a number": ("sgx.isvsvn", lambda m: m["sgx"].update(isvsvn=True)),
    "another product": ("sgx.isvprodid", lambda m: m["sgx"].update(isvprodid=4)),
    "a trusted file without a digest": (
        "sgx.trusted_files",
        lambda m: m["sgx"]["trusted_files"].append("file:home/lib/x.so"),
    ),
    "a trusted file elsewhere": (
        "sgx.trusted_files",
        lambda m: m["sgx"]["trusted_files"].append(
            {"uri": "file:/usr/lib/x.so", "sha256": "00" * 32}
        ),
    ),
    "a trusted file by a detour": (
        "sgx.trusted_files",
        lambda m: m["sgx"]["trusted_files"].append(
            {"uri": "file:home/../inputs/x.so", "sha256": "00" * 32}
        ),
    ),
    "a digest that is none": (
        "sgx.trusted_files",
        lambda m: m["sgx"]["trusted_files"].append({"uri": "file:home/x", "sha256": "00"}),
    ),
    "no trusted files": ("sgx.trusted_files", lambda m: m["sgx"].pop("trusted_files")),
    "a key of tomorrow": ("sgx.brand_new", lambda m: m["sgx"].update(brand_new=1)),
}


def test_a_manifest_for_tensorflow_programs_is_accepted() -> None:
    settings = Settings("tensorflow", size_gib=32, max_threads=512)
    assert not list(findings(render_manifest(settings, FILES_FOR_PROGRAMS)))


def test_what_the_template_makes_is_accepted(manifest: str) -> None:
    check_manifest(manifest)


@pytest.mark.parametrize(("key", "change"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(manifest: str, key: str, change: Change) -> None:
    parsed = tomllib.loads(manifest)
    change(parsed)
    text = tomlkit.dumps(parsed)
    assert {finding.key for finding in findings(text)} >= {key}
    with pytest.raises(ManifestRefused) as caught:
        check_manifest(text)
    assert caught.value.what.startswith("the manifest's ")
    assert caught.value.expected
    assert caught.value.remedy.startswith("render it again with coterie build gramine")


@pytest.mark.parametrize(
    ("section", "key"),
    [
        (section, key)
        for section, table in tomllib.loads(
            render_manifest(Settings("ps", size_gib=1, max_threads=8), FILES)
        ).items()
        for key in table
    ],
)
def test_nothing_may_be_left_out(manifest: str, section: str, key: str) -> None:
    parsed = tomllib.loads(manifest)
    del parsed[section][key]
    with pytest.raises(ManifestRefused):
        check_manifest(tomlkit.dumps(parsed))


def plain_settings(table: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from plain_settings(value, (*above, key))
        else:
            yield (*above, key)


@pytest.mark.parametrize(
    "parts",
    list(
        plain_settings(
            tomllib.loads(render_manifest(Settings("ps", size_gib=1, max_threads=8), FILES))
        )
    ),
    ids=".".join,
)
def test_a_quoted_key_stands_for_no_setting(manifest: str, parts: tuple[str, ...]) -> None:
    # Gramine reads the nested key; the good value of the quoted one must not hide a bad one.
    parsed = tomllib.loads(manifest)
    table = parsed
    for part in parts[:-1]:
        table = table[part]
    parsed[".".join(parts)] = table[parts[-1]]
    table[parts[-1]] = "whatever the host likes"
    keys = [finding.key for finding in findings(tomlkit.dumps(parsed))]
    assert repr((".".join(parts),)) in keys
    assert ".".join(parts) in keys


def test_a_setting_that_stands_quoted_only_is_missing(manifest: str) -> None:
    parsed = tomllib.loads(manifest)
    parsed["sgx.debug"] = parsed["sgx"].pop("debug")
    keys = [finding.key for finding in findings(tomlkit.dumps(parsed))]
    assert keys == ["('sgx.debug',)", "sgx.debug"]


def test_a_direct_manifest_is_no_enclave() -> None:
    settings = Settings("ps", size_gib=1, max_threads=8, direct=True)
    found = {finding.key for finding in findings(render_manifest(settings, FILES))}
    assert found == {"loader.argv", "fs.mounts", "fs.insecure__keys.direct"}


def test_text_that_is_no_toml_is_refused() -> None:
    with pytest.raises(ManifestRefused, match="the manifest's TOML is not"):
        check_manifest("loader = {")


def test_a_missing_manifest_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(ManifestRefused, match=r"gone\.manifest cannot be read"):
        read_manifest(tmp_path / "gone.manifest")
