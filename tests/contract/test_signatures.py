"""Party keys and signatures: nothing is overwritten, everybody must have signed."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from coterie.cli.contract import app
from coterie.contract import Contract, contract_digest, load_contract
from coterie.contract.signatures import (
    MAX_FILE_BYTES,
    ContractSignature,
    generate_party_key,
    load_party_key,
    load_signature,
    public_key_text,
    sign_contract,
    signature_path,
    signatures_beside,
    valid_signatures,
    verify_signature,
    verify_signatures,
)
from coterie.errors import CoterieError, OutputInUse, SignatureRefused

TEXT = """
format = 1
name = "signed"
mode = "hfl"

[[parties]]
name = "operator"
key = "{operator}"

[[parties]]
name = "acme"
key = "{acme}"

[[nodes]]
name = "ps0"
role = "ps"
party = "operator"

[[nodes]]
name = "acme-worker"
role = "worker"
party = "acme"

[trust]
tee = "simulated"

[trust.roles.ps]
measurement = "own"
accepted_tcb_statuses = ["UpToDate"]

[trust.roles.worker]
measurement = "own"
accepted_tcb_statuses = ["UpToDate"]
"""


@pytest.fixture
def keys() -> dict[str, Ed25519PrivateKey]:
    return {name: Ed25519PrivateKey.generate() for name in ("operator", "acme")}


@pytest.fixture
def path(tmp_path: Path, keys: dict[str, Ed25519PrivateKey]) -> Path:
    file = tmp_path / "c.toml"
    file.write_text(TEXT.format(**{name: public_key_text(key) for name, key in keys.items()}))
    return file


@pytest.fixture
def contract(path: Path) -> Contract:
    return load_contract(path)


class TestKeys:
    def test_a_key_is_written_for_its_owner_only_and_read_back(self, tmp_path: Path) -> None:
        file = tmp_path / "acme.pem"

        key = generate_party_key(file)

        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert public_key_text(load_party_key(file)) == public_key_text(key)
        assert public_key_text(key).startswith("ed25519:")

    def test_a_key_is_never_overwritten(self, tmp_path: Path) -> None:
        file = tmp_path / "acme.pem"
        generate_party_key(file)
        before = file.read_bytes()

        with pytest.raises(OutputInUse):
            generate_party_key(file)

        assert file.read_bytes() == before

    def test_a_link_is_not_followed(self, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to(tmp_path / "elsewhere")

        with pytest.raises(OutputInUse):
            generate_party_key(tmp_path / "link")

        assert not (tmp_path / "elsewhere").exists()

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            ec.generate_private_key(ec.SECP256R1()).private_bytes(
                Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
            ),
            Ed25519PrivateKey.generate().private_bytes(
                Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"pass")
            ),
            bytes(MAX_FILE_BYTES + 1),
        ],
        ids=["empty", "garbage", "another kind", "encrypted", "too large"],
    )
    def test_anything_else_is_no_key(self, tmp_path: Path, content: bytes) -> None:
        file = tmp_path / "key.pem"
        file.write_bytes(content)

        with pytest.raises(SignatureRefused) as caught:
            load_party_key(file)

        assert caught.value.remedy

    def test_a_missing_file_is_no_key(self, tmp_path: Path) -> None:
        with pytest.raises(SignatureRefused):
            load_party_key(tmp_path / "none.pem")


class TestSignatures:
    def test_all_signatures_together_are_accepted(
        self, contract: Contract, keys: dict[str, Ed25519PrivateKey]
    ) -> None:
        verify_signatures(
            contract, [sign_contract(contract, key, name) for name, key in keys.items()]
        )

    def test_a_missing_one_is_named(
        self, contract: Contract, keys: dict[str, Ed25519PrivateKey]
    ) -> None:
        with pytest.raises(SignatureRefused) as caught:
            verify_signatures(contract, [sign_contract(contract, keys["acme"], "acme")])

        assert "operator" in caught.value.seen
        assert "acme" not in caught.value.seen

    def test_only_the_partys_own_key_signs_for_it(
        self, contract: Contract, keys: dict[str, Ed25519PrivateKey]
    ) -> None:
        with pytest.raises(SignatureRefused, match="not the key"):
            sign_contract(contract, keys["acme"], "operator")

    def test_an_unknown_party_cannot_sign(
        self, contract: Contract, keys: dict[str, Ed25519PrivateKey]
    ) -> None:
        with pytest.raises(SignatureRefused, match="no party"):
            sign_contract(contract, keys["acme"], "mallory")

    def test_a_party_without_a_key_cannot_sign(
        self, contract: Contract, keys: dict[str, Ed25519PrivateKey]
    ) -> None:
        keyless = contract.model_copy(
            update={
                "parties": tuple(
                    party.model_copy(update={"key": None}) for party in contract.parties
                )
            }
        )

        with pytest.raises(SignatureRefused, match="names no key"):
            sign_contract(keyless, keys["acme"], "acme")

    @pytest.mark.parametrize(
        ("alter", "what"),
        [
            (lambda s: replace(s, signature="00" * 64), "is wrong"),
            (lambda s: replace(s, signature="zz"), "is wrong"),
            (lambda s: replace(s, signature=""), "is wrong"),
            (lambda s: replace(s, party="operator"), "is wrong"),
            (lambda s: replace(s, party="mallory"), "no party"),
            (lambda s: replace(s, contract_digest="00" * 32), "another contract"),
        ],
    )
    def test_an_altered_one_is_refused(
        self,
        contract: Contract,
        keys: dict[str, Ed25519PrivateKey],
        alter: Callable[[ContractSignature], ContractSignature],
        what: str,
    ) -> None:
        with pytest.raises(SignatureRefused, match=what):
            verify_signature(contract, alter(sign_contract(contract, keys["acme"], "acme")))

    def test_a_change_in_the_contract_voids_them(
        self, contract: Contract, keys: dict[str, Ed25519PrivateKey]
    ) -> None:
        signature = sign_contract(contract, keys["acme"], "acme")
        training = contract.training.model_copy(update={"batch": 256})
        changed = contract.model_copy(update={"training": training})

        with pytest.raises(SignatureRefused, match="another contract"):
            verify_signature(changed, signature)
        forged = replace(signature, contract_digest=contract_digest(changed).hex())
        with pytest.raises(SignatureRefused, match="is wrong"):
            verify_signature(changed, forged)

    def test_the_file_is_read_back(
        self, tmp_path: Path, contract: Contract, keys: dict[str, Ed25519PrivateKey]
    ) -> None:
        signature = sign_contract(contract, keys["acme"], "acme")
        file = tmp_path / "x.sig"
        file.write_text(signature.to_json())

        assert load_signature(file) == signature

    @given(st.one_of(st.binary(max_size=100), st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.dictionaries(
            st.sampled_from(["format", "party", "contract_digest", "signature"]), inner
        ),
    ).map(lambda value: json.dumps(value).encode())))  # fmt: skip
    def test_any_other_file_is_refused(self, text: bytes) -> None:
        try:
            read = ContractSignature.from_json(text, "x.sig")
        except SignatureRefused:
            return
        assert read.format == 1


class TestCommandLine:
    def run(self, *words: str | Path) -> tuple[str, CoterieError | None]:
        result = CliRunner().invoke(app, [str(word) for word in words])
        error = result.exception
        if error is not None and not isinstance(error, CoterieError):
            raise error
        return result.output, error

    def test_from_keys_to_a_contract_that_all_have_signed(self, tmp_path: Path) -> None:
        printed = {}
        for name in ("operator", "acme"):
            output, error = self.run("keygen", tmp_path / f"{name}.pem")
            assert error is None
            printed[name] = output.strip()
        path = tmp_path / "c.toml"
        path.write_text(TEXT.format(**printed))

        self.run("sign", path, "--key", tmp_path / "acme.pem", "--party", "acme")
        output, error = self.run("verify", path)
        assert isinstance(error, SignatureRefused)
        assert "signed   acme" in output
        assert "missing  operator" in output

        self.run("sign", path, "--key", tmp_path / "operator.pem", "--party", "operator")
        output, error = self.run("verify", path)
        assert error is None
        assert "missing" not in output

    def test_a_wrong_signature_is_told_apart_from_a_missing_one(
        self, path: Path, contract: Contract, keys: dict[str, Ed25519PrivateKey]
    ) -> None:
        good = sign_contract(contract, keys["acme"], "acme")
        signature_path(path, "acme").write_text(good.to_json())
        signature_path(path, "operator").write_text(replace(good, party="operator").to_json())

        output, error = self.run("verify", path)

        assert isinstance(error, SignatureRefused)
        assert error.exit_code == 4
        assert "signature of operator is wrong" in error.what
        assert "signed   acme" in output

    def test_signatures_may_lie_elsewhere(
        self, tmp_path: Path, path: Path, contract: Contract, keys: dict[str, Ed25519PrivateKey]
    ) -> None:
        files = []
        for name, key in keys.items():
            file = tmp_path / f"from-{name}"
            file.write_text(sign_contract(contract, key, name).to_json())
            files.append(file)

        assert self.run("verify", path, *files)[1] is None
        assert isinstance(self.run("verify", path, files[0])[1], SignatureRefused)

    def test_show_prints_digests_nodes_and_parties(self, path: Path, contract: Contract) -> None:
        output, error = self.run("show", path, "--json")

        assert error is None
        shown = json.loads(output)
        assert shown["contract_digest"] == contract_digest(contract).hex()
        assert [node["name"] for node in shown["nodes"]] == ["ps0", "acme-worker"]
        assert shown["parties"][1]["key"] == contract.parties[1].key
        assert contract_digest(contract).hex() in self.run("show", path)[0]


class TestBesideTheContract:
    def test_those_that_hold_are_found(
        self, path: Path, contract: Contract, keys: dict[str, Ed25519PrivateKey]
    ) -> None:
        good = sign_contract(contract, keys["acme"], "acme")
        other = replace(sign_contract(contract, keys["operator"], "operator"), signature="00" * 64)
        for signature in (good, other):
            signature_path(path, signature.party).write_text(signature.to_json())
        assert valid_signatures(contract, path) == (good,)
        with pytest.raises(SignatureRefused, match="signature of operator is wrong"):
            verify_signatures(contract, signatures_beside(contract, path))

    def test_there_may_be_none(self, path: Path, contract: Contract) -> None:
        assert valid_signatures(contract, path) == ()

    def test_an_unreadable_one_is_refused(self, path: Path, contract: Contract) -> None:
        signature_path(path, "acme").write_text("no signature")
        with pytest.raises(SignatureRefused, match="no signature file"):
            valid_signatures(contract, path)
