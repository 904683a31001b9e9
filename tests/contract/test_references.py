"""A file of reference values: only what says which program is meant, in the form of the contract's keys."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from coterie.contract.references import MAX_BYTES, read_references
from coterie.errors import ContractInvalid


def written(path: Path, values: object, tee: str = "sgx") -> Path:
    path.write_text(json.dumps({"format": 1, "tee": tee, "values": values}))
    return path


MALFORMED: dict[str, tuple[bytes, str]] = {
    "no JSON": (b"{", "Expecting"),
    "another form": (b"[]", "no object"),
    "nested": (b"[" * 100_000, ""),
    "another key": (b'{"format": 1, "tee": "sgx", "values": {}, "x": 1}', "other keys"),
    "another format": (b'{"format": 2, "tee": "sgx", "values": {}}', "another format"),
    "no values": (b'{"format": 1, "tee": "sgx", "values": {}}', "no values"),
    "a key twice": (
        b'{"format": 1, "tee": "sgx", "values": {"mrenclave": [], "mrenclave": []}}',
        "twice",
    ),
    "a policy": (
        b'{"format": 1, "tee": "sgx", "values": {"accepted_tcb_statuses": ["OutOfDate"]}}',
        "accepted_tcb_statuses",
    ),
    "a policy of SNP": (
        b'{"format": 1, "tee": "snp", "values": {"snp": {"signing_key": ["vcek"]}}}',
        "signing_key",
    ),
    "a policy of a virtual TPM": (
        b'{"format": 1, "tee": "azure-snp", "values": {"vtpm": {"console": [true]}}}',
        "console",
    ),
    "SNP's values beside its table": (
        b'{"format": 1, "tee": "snp", "values": {"launch_measurement": []}}',
        "launch_measurement",
    ),
    "a table without values": (b'{"format": 1, "tee": "snp", "values": {"snp": {}}}', "snp is no"),
    "a table of another form": (b'{"format": 1, "tee": "snp", "values": {"snp": []}}', "snp is no"),
    "no number of a PCR": (
        b'{"format": 1, "tee": "azure-snp", "values": {"vtpm": {"pcrs": {"24": []}}}}',
        "pcrs",
    ),
    "another kind": (
        b'{"format": 1, "tee": "sgx", "values": {"alternatives": []}}',
        "alternatives",
    ),
    "no hex": (b'{"format": 1, "tee": "sgx", "values": {"mrenclave": ["x"]}}', "mrenclave"),
    "half a signer": (b'{"format": 1, "tee": "sgx", "values": {"isv_prod_id": 1}}', "go together"),
    "too large": (b" " * (MAX_BYTES + 1), "more than"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_file_is_refused(case: str, tmp_path: Path) -> None:
    text, seen = MALFORMED[case]
    (tmp_path / "v.json").write_bytes(text)
    with pytest.raises(ContractInvalid, match="no file of reference values") as refused:
        read_references(tmp_path / "v.json")
    assert seen in refused.value.seen
    assert refused.value.remedy


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContractInvalid) as refused:
        read_references(tmp_path / "v.json")
    assert refused.value.seen == "No such file or directory"
