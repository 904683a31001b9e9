"""What the one template makes: each setting that keeps the host out is asserted here by name."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from coterie.contract import EnclaveSection
from coterie.enclave.contents import IMAGES
from coterie.enclave.manifest import Settings, render_manifest
from coterie.errors import EnvironmentUnfit
from tests.enclave.conftest import FILES, FILES_FOR_PROGRAMS, NATIVE, SETTINGS


@pytest.fixture(scope="module")
def parsed(manifest: str) -> dict[str, Any]:
    return tomllib.loads(manifest)


def test_the_program_and_its_arguments_are_fixed(parsed: dict[str, Any]) -> None:
    assert parsed["libos"]["entrypoint"].startswith("/opt/coterie/bin/python3.")
    assert parsed["loader"]["argv"][1:] == ["-I", "-B", "-m", "coterie.enclave"]
    assert "insecure__use_cmdline_argv" not in parsed["loader"]
    assert "argv_src_file" not in parsed["loader"]


def test_no_variable_comes_from_the_host(parsed: dict[str, Any]) -> None:
    assert "insecure__use_host_env" not in parsed["loader"]
    assert "env_src_file" not in parsed["loader"]
    assert all(isinstance(value, str) for value in parsed["loader"]["env"].values())


def test_tensorflow_gets_threads_arenas_and_stacks_that_fit_an_enclave(
    parsed: dict[str, Any],
) -> None:
    assert parsed["loader"]["env"]["MALLOC_ARENA_MAX"] == "4"
    assert parsed["loader"]["env"]["OMP_NUM_THREADS"] == "1"
    assert parsed["sys"]["stack"]["size"] == "8M"


def test_quotes_are_made_by_dcap_and_the_enclave_is_no_debug_enclave(
    parsed: dict[str, Any],
) -> None:
    assert parsed["sgx"]["remote_attestation"] == "dcap"
    assert parsed["sgx"]["debug"] is False
    assert parsed["sgx"]["edmm_enable"] is True
    assert parsed["sgx"]["file_check_policy"] == "strict"


def test_sizes_are_the_ones_that_were_asked_for(parsed: dict[str, Any]) -> None:
    assert parsed["sgx"]["enclave_size"] == "32G"
    assert parsed["sgx"]["max_threads"] == 512
    assert EnclaveSection().max_threads >= 128, "TensorFlow takes about 107 threads"


def test_every_file_of_the_image_is_trusted_with_its_digest(parsed: dict[str, Any]) -> None:
    trusted = {
        entry["uri"]: entry["sha256"]
        for entry in parsed["sgx"]["trusted_files"]
        if isinstance(entry, dict)
    }
    assert trusted == {f"file:home/{file.path}": file.sha256.hex() for file in FILES}


def test_allowed_files_hold_no_code_and_nothing_secret_in_the_clear(
    parsed: dict[str, Any],
) -> None:
    allowed = parsed["sgx"]["allowed_files"]
    assert allowed == ["file:inputs/", "file:data/", "file:out/"]
    mounted = {mount["path"]: mount for mount in parsed["fs"]["mounts"]}
    assert mounted["/coterie/memory"]["type"] == "encrypted"
    assert mounted["/coterie/memory"]["key_name"] == "_sgx_mrenclave"
    assert mounted["/tmp"]["type"] == "tmpfs"
    assert parsed["fs"]["root"] == {"type": "tmpfs"}
    assert "insecure__keys" not in parsed["fs"]


def test_scratch_is_mounted_before_anything_else(parsed: dict[str, Any]) -> None:
    assert parsed["fs"]["mounts"][0] == {"type": "tmpfs", "path": "/tmp"}


def test_the_same_image_gives_the_same_text_whatever_the_order_of_its_files() -> None:
    assert render_manifest(SETTINGS, reversed(FILES)) == render_manifest(SETTINGS, FILES)


def test_images_differ_in_their_product_number() -> None:
    numbers = {
        tomllib.loads(
            render_manifest(Settings(image, size_gib=1, max_threads=8), FILES_FOR_PROGRAMS)
        )["sgx"]["isvprodid"]
        for image in IMAGES
    }
    assert numbers == {1, 2, 3}


def test_the_image_for_tensorflow_programs_has_its_native_part_in_front_and_no_other_has() -> None:
    for image in IMAGES:
        settings = Settings(image, size_gib=1, max_threads=8)
        env = tomllib.loads(render_manifest(settings, FILES_FOR_PROGRAMS))["loader"]["env"]
        preloaded = f"/opt/coterie/{NATIVE}" if image == "tensorflow" else None
        assert env.get("LD_PRELOAD") == preloaded


def test_an_image_for_tensorflow_programs_without_the_native_part_is_refused() -> None:
    with pytest.raises(EnvironmentUnfit, match="the image has no native part"):
        render_manifest(Settings("tensorflow", size_gib=1, max_threads=8), FILES)


def test_direct_manifests_say_so_to_the_program_and_have_a_key_for_everybody() -> None:
    settings = Settings("ps", size_gib=1, max_threads=8, direct=True)
    direct = tomllib.loads(render_manifest(settings, FILES))
    assert direct["loader"]["argv"][-1] == "direct"
    assert direct["fs"]["insecure__keys"].keys() == {"direct"}


def test_an_image_without_certificates_is_refused() -> None:
    with pytest.raises(EnvironmentUnfit, match="the image has no CA certificates"):
        render_manifest(SETTINGS, FILES[:2])
