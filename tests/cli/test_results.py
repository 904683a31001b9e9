"""With ``--json`` every verb that is quick enough to be run here prints one object; the others are named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from coterie.enclave.manifest import render_manifest
from handbook.commands import Verb, verbs
from tests.cli.conftest import Run
from tests.conftest import REPOSITORY
from tests.enclave.conftest import FILES, SETTINGS

ROOT = REPOSITORY


@pytest.fixture
def prepared(run: Run, tmp_path: Path) -> Path:
    """A folder with a contract, a raw file, and data that was prepared by the verbs themselves."""
    contract, raw = tmp_path / "c.toml", tmp_path / "raw.tsv"
    assert run("init", contract, "--yes", "--json").value["name"] == "c"
    made = run("synthesize", raw, "--rows", "280", "--json").value
    assert (made["rows"], made["file"]) == (280, str(raw))
    data = run("prepare", raw, tmp_path / "data", "--contract", contract, "--json").value
    assert data["directory"] == str(tmp_path / "data")
    return tmp_path


def test_a_sealed_data_set_is_named(prepared: Path, run: Run) -> None:
    sealed = run(
        *("seal", prepared / "data" / "acme", prepared / "sealed", "--to", prepared / "c.toml"),
        *("--party", "acme", "--key", prepared / "acme.key", "--json"),
    ).value
    assert sealed["party"] == "acme"
    assert sealed["directory"] == str(prepared / "sealed")
    assert sealed["key_file"] == str(prepared / "acme.key")
    assert re.fullmatch("[0-9a-f]{32,64}", str(sealed["data_set"]))


def test_a_key_for_models_is_named(run: Run, tmp_path: Path) -> None:
    made = run("seal-key", tmp_path / "m.key", "--party", "acme", "--json").value
    assert (made["file"], made["party"]) == (str(tmp_path / "m.key"), "acme")
    assert re.fullmatch("[0-9a-f]{32,64}", str(made["key_id"]))


def test_keys_and_signatures_are_told(run: Run, tmp_path: Path) -> None:
    key = tmp_path / "acme.pem"
    public = run("contract", "keygen", key, "--json").value
    assert public["file"] == str(key)
    contract = tmp_path / "c.toml"
    party = f"acme={public['key']}"
    run("init", contract, "--party", party, "--operator", party, "--yes")
    shown = run("contract", "show", contract, "--json").value
    signed = run("contract", "sign", contract, "--key", key, "--party", "acme", "--json").value
    assert signed == {
        "file": f"{contract}.acme.sig",
        "party": "acme",
        "contract_digest": shown["contract_digest"],
    }
    verified = run("contract", "verify", contract, "--json").value
    assert verified == {"contract_digest": shown["contract_digest"], "signed": ["acme"]}
    consent = run(
        *("contract", "rollback", contract, "--key", key, "--party", "acme", "--step", "4"),
        *("--digest", "ab" * 32, "--run", "cd" * 32, "--given-up-step", "5"),
        *("--given-up-digest", "ef" * 32, "--out", tmp_path / "consent.json", "--json"),
    ).value
    assert consent == {"file": str(tmp_path / "consent.json"), "party": "acme", "missing": []}


def test_a_missing_signature_is_the_one_object(run: Run, tmp_path: Path) -> None:
    contract = tmp_path / "c.toml"
    run("init", contract, "--yes")
    ran = run("contract", "verify", contract, "--json")
    assert (ran.code, ran.value["error"]) == (4, "SignatureRefused")


def test_the_machine_is_told(run: Run) -> None:
    tees = run("doctor", "--json").value["tees"]
    assert isinstance(tees, dict)
    assert set(tees) == {
        *("simulated", "simulated-snp", "simulated-azure-snp", "simulated-azure-tdx"),
        *("sgx", "tdx", "snp", "azure-snp", "azure-tdx"),
    }


def test_a_manifest_that_is_checked_is_named(run: Run, tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.toml"
    manifest.write_text(render_manifest(SETTINGS, FILES))
    checked = run("build", "check", manifest, "--json").value
    assert checked == {"manifest": str(manifest), "accepted": True}


@pytest.mark.parametrize("verb", [one for one in verbs() if one.option("--json")], ids=str)
def test_some_test_reads_the_verbs_json(verb: Verb) -> None:
    """Each such verb is named, word for word, in a test file or gate script that asks for JSON."""
    quoted = r'",?\s*"'.join(verb.words[1:])
    pattern = re.compile(rf'"{quoted}"|{verb.name}\b')
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py")]
    texts.append((ROOT / ".ci" / "dist").read_text(encoding="utf-8"))
    assert any(pattern.search(text) and "--json" in text for text in texts)
