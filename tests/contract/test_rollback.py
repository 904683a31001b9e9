"""The parties' consent to go on from an older checkpoint: all of them, for one checkpoint."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

from coterie.cli.contract import app
from coterie.contract import Contract, contract_digest, parse_contract
from coterie.contract.rollback import RollbackConsent
from coterie.contract.signatures import generate_party_key, load_party_key, public_key_text
from coterie.errors import CoterieError, OutputInUse, SignatureRefused

DIGEST, GIVEN_UP = bytes(range(32)), bytes(range(32, 64))
RUN = "5e" * 32
TEXT = """
format = 1
name = "{name}"
mode = "hfl"
parties = [{{name = "operator", key = "{operator}"}}, {{name = "acme", key = "{acme}"}}]
nodes = [
  {{name = "ps0", role = "ps", party = "operator"}},
  {{name = "w0", role = "worker", party = "acme"}},
]
[trust]
tee = "simulated"
[trust.roles.ps]
measurement = "own"
accepted_tcb_statuses = ["UpToDate"]
[trust.roles.worker]
measurement = "own"
accepted_tcb_statuses = ["UpToDate"]
"""


class Parties:
    """Two parties with keys in files, and their contract in one."""

    def __init__(self, folder: Path) -> None:
        self.files = {name: folder / f"{name}.pem" for name in ("operator", "acme")}
        for path in self.files.values():
            generate_party_key(path)
        self.keys = {name: load_party_key(path) for name, path in self.files.items()}
        self.file = folder / "contract.toml"
        self.file.write_text(self.text("agreed"))
        self.contract = self.named("agreed")
        self.out = folder / "consent.json"

    def text(self, name: str) -> str:
        publics = {party: public_key_text(key) for party, key in self.keys.items()}
        return TEXT.format(name=name, **publics)

    def named(self, name: str) -> Contract:
        return parse_contract(self.text(name).encode(), name)

    def unsigned(self) -> RollbackConsent:
        return RollbackConsent(contract_digest(self.contract), RUN, 40, DIGEST, 60, GIVEN_UP, {})

    def consent(self, *parties: str) -> RollbackConsent:
        consent = self.unsigned()
        for party in parties:
            consent = consent.signed_by(self.contract, self.keys[party], party)
        return consent

    def roll_back(
        self, party: str, *, step: int = 40, digest: str = DIGEST.hex(), run: str = RUN
    ) -> str:
        arguments = ["rollback", str(self.file), "--key", str(self.files[party]), "--party", party]
        arguments += ["--step", str(step), "--digest", digest, "--out", str(self.out)]
        arguments += ["--run", run, "--given-up-step", "60", "--given-up-digest", GIVEN_UP.hex()]
        done = CliRunner().invoke(app, arguments)
        if isinstance(done.exception, CoterieError):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done.output


@pytest.fixture
def parties(tmp_path: Path) -> Parties:
    return Parties(tmp_path)


def test_a_consent_of_all_parties_holds(parties: Parties, tmp_path: Path) -> None:
    consent = parties.consent("operator", "acme")
    consent.verify(parties.contract)
    consent.write(tmp_path / "written.json")
    read = RollbackConsent.read(tmp_path / "written.json")
    assert read == consent
    read.verify(parties.contract)


def test_a_consent_of_some_does_not(parties: Parties) -> None:
    with pytest.raises(SignatureRefused) as refused:
        parties.consent("acme").verify(parties.contract)
    assert refused.value.what == "not all parties have consented to roll back"
    assert refused.value.expected == "signatures of operator, acme"
    assert refused.value.seen == "none of operator"


@pytest.mark.parametrize(
    "other",
    [
        {"step": 41},
        {"digest": bytes(32)},
        {"run_id": "0b" * 32},
        {"given_up_step": 61},
        {"given_up_digest": bytes(32)},
    ],
    ids=lambda other: next(iter(other)),
)
def test_signatures_are_for_one_run_checkpoint_and_loss(
    parties: Parties, other: dict[str, object]
) -> None:
    consent = replace(parties.consent("operator", "acme"), **other)  # type: ignore[arg-type]
    with pytest.raises(SignatureRefused, match="signature of"):
        consent.verify(parties.contract)
    assert consent.name != parties.consent("operator", "acme").name


def test_signatures_are_for_one_contract(parties: Parties) -> None:
    other = parties.named("other")
    with pytest.raises(SignatureRefused) as refused:
        parties.consent("operator", "acme").verify(other)
    assert refused.value.what == "the consent to roll back is for another contract"
    relabelled = replace(
        parties.consent("operator", "acme"), contract_digest=contract_digest(other)
    )
    with pytest.raises(SignatureRefused, match="signature of"):
        relabelled.verify(other)


def test_nobody_signs_for_another_party(parties: Parties) -> None:
    consent = parties.unsigned()
    with pytest.raises(SignatureRefused):
        consent.signed_by(parties.contract, parties.keys["acme"], "operator")
    with pytest.raises(SignatureRefused):
        consent.signed_by(parties.contract, Ed25519PrivateKey.generate(), "acme")
    with pytest.raises(SignatureRefused):
        consent.signed_by(parties.contract, parties.keys["acme"], "stranger")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        json.dumps({"contract_digest": "00", "step": 1, "digest": "00", "signatures": {}}),
        json.dumps({"contract_digest": "0" * 64, "step": -1, "digest": "0" * 64, "signatures": {}}),
        json.dumps(
            {"contract_digest": "0" * 64, "step": 1, "digest": "0" * 64, "signatures": {"a": "0"}}
        ),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "consent.json"
    path.write_text(text)
    with pytest.raises(SignatureRefused) as refused:
        RollbackConsent.read(path)
    assert refused.value.what == f"{path} is no consent to roll back"
    assert refused.value.seen == "another form"


def test_a_consent_that_names_no_run_is_refused_as_of_an_earlier_version(tmp_path: Path) -> None:
    path = tmp_path / "consent.json"
    old = {
        "format": 1,
        "contract_digest": "0" * 64,
        "step": 1,
        "digest": "0" * 64,
        "signatures": {},
    }
    path.write_text(json.dumps(old))
    with pytest.raises(SignatureRefused) as refused:
        RollbackConsent.read(path)
    assert refused.value.expected == "what `coterie contract rollback` writes, format 2"
    assert refused.value.seen == "format 1"


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SignatureRefused) as refused:
        RollbackConsent.read(tmp_path / "none.json")
    assert refused.value.seen == "No such file or directory"


class TestCommand:
    def test_the_parties_sign_one_after_the_other(self, parties: Parties) -> None:
        assert "acme consents; missing: operator" in parties.roll_back("acme")
        assert parties.roll_back("operator").endswith("operator consents\n")
        RollbackConsent.read(parties.out).verify(parties.contract)

    def test_a_consent_to_something_else_is_not_overwritten(self, parties: Parties) -> None:
        parties.roll_back("acme")
        before = parties.out.read_bytes()
        with pytest.raises(OutputInUse) as refused:
            parties.roll_back("operator", step=39)
        assert refused.value.seen == parties.unsigned().words
        assert f"run {RUN}: step 39, digest {DIGEST.hex()}, in place of step 60" in (
            refused.value.expected
        )
        with pytest.raises(OutputInUse):
            parties.roll_back("operator", run="0b" * 32)
        assert parties.out.read_bytes() == before
