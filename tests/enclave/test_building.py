"""A whole image, built twice: the same files, the same manifest, and, with Gramine, one measurement."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from coterie.contract import EnclaveSection
from coterie.enclave.building import FILES, HOST_FOLDERS, RENDERED, BuildOptions, build_image
from coterie.enclave.gramine import MANIFEST, GramineTools
from coterie.enclave.lint import check_manifest
from coterie.enclave.manifest import RUNTIME
from coterie.errors import EnvironmentUnfit, ManifestRefused, OutputInUse
from tests.command_line import called

OPTIONS = BuildOptions(EnclaveSection(size_gib=8, ps_size_gib=4, max_threads=64))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The parameter servers' image, built without Gramine."""
    return build_image("ps", tmp_path_factory.mktemp("built"), OPTIONS, None).folder


@pytest.mark.system
def test_a_party_elsewhere_builds_the_same_image(folder: Path, tmp_path: Path) -> None:
    other = build_image("ps", tmp_path / "elsewhere", OPTIONS, None).folder
    for name in (FILES, RENDERED):
        assert (other / name).read_bytes() == (folder / name).read_bytes(), name


@pytest.mark.system
def test_the_image_has_no_trace_of_whoever_built_it(folder: Path) -> None:
    text = (folder / RENDERED).read_text()
    assert str(folder.parent) not in text
    assert set(re.findall(r'"file:(/[^"]*)"', text)) == {RUNTIME, f"{RUNTIME}/"}


@pytest.mark.system
def test_no_node_no_party_and_no_data_are_in_the_measured_part(folder: Path) -> None:
    trusted = {
        entry["uri"]
        for entry in tomllib.loads((folder / RENDERED).read_text())["sgx"]["trusted_files"]
        if isinstance(entry, dict)
    }
    assert not any(
        uri.startswith(tuple(f"file:{name}" for name in HOST_FOLDERS)) for uri in trusted
    )
    assert {
        f"file:home/{line.split('  ')[1]}" for line in (folder / FILES).read_text().splitlines()
    } == trusted


@pytest.mark.system
def test_the_server_has_neither_tensorflow_nor_the_plaintext_transport(folder: Path) -> None:
    text = (folder / FILES).read_text()
    assert "site-packages/coterie/ps/service.py" in text
    for absent in ("tensorflow", "keras", "coterie/plaintext", "coterie/cli"):
        assert f"site-packages/{absent}" not in text, absent


@pytest.mark.system
def test_the_contract_sets_the_size_by_role(folder: Path) -> None:
    sgx = tomllib.loads((folder / RENDERED).read_text())["sgx"]
    assert (sgx["enclave_size"], sgx["max_threads"]) == ("4G", 64)


@pytest.mark.system
def test_the_manifest_passes_the_lint(folder: Path) -> None:
    check_manifest((folder / RENDERED).read_text())


@pytest.mark.system
def test_an_existing_image_is_left_as_it_is(folder: Path) -> None:
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(OutputInUse, match="is there already"):
        build_image("ps", folder.parent, OPTIONS, None)
    assert sorted(path.name for path in folder.iterdir()) == before


@pytest.mark.system
def test_a_build_that_fails_leaves_nothing(tmp_path: Path) -> None:
    failing = GramineTools("/no/such/gramine-manifest", None)
    with pytest.raises(EnvironmentUnfit, match="gramine-manifest does not do what is needed"):
        build_image("ps", tmp_path, OPTIONS, failing)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("direct", "seen"),
    [(True, "--direct"), (False, "Gramine with SGX is not installed here")],
)
def test_a_key_that_nothing_signs_with_is_refused(
    tmp_path: Path, seen: str, *, direct: bool
) -> None:
    options = replace(OPTIONS, key=tmp_path / "key.pem", direct=direct)
    with pytest.raises(EnvironmentUnfit, match="nothing signs with the key") as refused:
        build_image("ps", tmp_path, options, None)
    assert refused.value.seen == seen
    assert list(tmp_path.iterdir()) == []


@pytest.mark.system
def test_the_command_line_builds_and_tells_what_is_measured(folder: Path, tmp_path: Path) -> None:
    done = called("build", "gramine", "--out", tmp_path, "--image", "ps", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)["ps"]
    assert told["folder"] == str(tmp_path / "ps")
    assert told["files_sha256"] == hashlib.sha256((folder / FILES).read_bytes()).hexdigest()
    assert told["files"] == len((folder / FILES).read_text().splitlines())
    tools = GramineTools.installed()
    assert bool(told["mrenclave"]) == (tools is not None and tools.signs)
    assert told["mrsigner"] is None


@pytest.mark.system
def test_the_command_line_refuses_an_altered_manifest(folder: Path, tmp_path: Path) -> None:
    accepted = called("build", "check", folder / RENDERED, "--json")
    assert json.loads(accepted.stdout)["accepted"] is True
    altered = tmp_path / "manifest"
    altered.write_text((folder / RENDERED).read_text().replace("debug = false", "debug = true"))
    refused = called("build", "check", altered, "--json")
    assert refused.returncode == ManifestRefused.exit_code
    error = json.loads(refused.stdout)
    assert (error["error"], error["expected"], error["seen"]) == (
        *("ManifestRefused", "False", "True"),
    )


def signing_key(path: Path) -> Path:
    key = rsa.generate_private_key(3, 3072)
    path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    )
    return path


def completed(folder: Path, tools: GramineTools, where: Path) -> Path:
    """A copy of an image in which Gramine has completed the manifest."""
    shutil.copytree(folder, where)
    rendered = where / RENDERED
    rendered.write_text(rendered.read_text().replace(RUNTIME, tools.runtime()))
    check_manifest(tools.complete(where, rendered).read_text())
    return where


def test_gramine_accepts_the_manifest_and_measures_it_alike_everywhere(
    folder: Path, gramine: GramineTools, tmp_path: Path
) -> None:
    here = completed(folder, gramine, tmp_path / "here")
    there = completed(folder, gramine, tmp_path / "there")
    unsigned = gramine.measure(here, None)
    signed = gramine.measure(there, signing_key(tmp_path / "key.pem"))
    if unsigned is None or signed is None:
        pytest.skip("Gramine was built without SGX here: nothing computes MRENCLAVE")
    assert unsigned.mrenclave == signed.mrenclave
    assert unsigned.mrsigner is None
    assert signed.mrsigner is not None
    assert not (here / "coterie.sig").exists()
    assert (there / "coterie.sig").exists()
    assert (here / f"{MANIFEST}.sgx").read_bytes() == (there / f"{MANIFEST}.sgx").read_bytes()
    check_manifest((here / f"{MANIFEST}.sgx").read_text())


def test_another_size_is_another_measurement(
    folder: Path, gramine: GramineTools, tmp_path: Path
) -> None:
    here = completed(folder, gramine, tmp_path / "here")
    first = gramine.measure(here, None)
    manifest = here / MANIFEST
    manifest.write_text(manifest.read_text().replace('enclave_size = "4G"', 'enclave_size = "8G"'))
    second = gramine.measure(here, None)
    if first is None or second is None:
        pytest.skip("Gramine was built without SGX here: nothing computes MRENCLAVE")
    assert first.mrenclave != second.mrenclave


def test_a_key_that_is_none_is_refused(folder: Path, gramine: GramineTools, tmp_path: Path) -> None:
    here = completed(folder, gramine, tmp_path / "here")
    (tmp_path / "key.pem").write_text("no key")
    with pytest.raises(EnvironmentUnfit, match="gramine-sgx-sign does not do what is needed"):
        gramine.measure(here, tmp_path / "key.pem")
