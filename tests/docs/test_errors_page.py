"""docs/errors.md has every error class with its exit code, and every named check that can fail."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from coterie.attestation.dcap_contracted import TDX_REGISTERS
from coterie.attestation.evidence import check_names
from coterie.errors import CoterieError
from coterie.kinds import TeeKind
from tests.conftest import REPOSITORY

ROOT = REPOSITORY
TEXT = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")


def tree(root: type[CoterieError]) -> Iterator[type[CoterieError]]:
    if root.__module__ == CoterieError.__module__:
        yield root
    for child in root.__subclasses__():
        yield from tree(child)


@pytest.mark.parametrize("kind", sorted(set(tree(CoterieError)), key=str))
def test_every_class_is_there_with_its_exit_code(kind: type[CoterieError]) -> None:
    assert f"| `{kind.__name__}` | {kind.exit_code} |" in TEXT


@pytest.mark.parametrize("kind", ["sgx", "tdx"])
def test_every_check_of_the_verifier_is_there(kind: TeeKind) -> None:
    assert [name for name in check_names(kind) if f"`{name}`" not in TEXT] == []


def test_every_check_that_the_source_names_literally_is_there() -> None:
    source = "".join(
        path.read_text(encoding="utf-8")
        for folder in ("attestation", "ratls")
        for path in sorted((ROOT / "src" / "coterie" / folder).rglob("*.py"))
    )
    named = set(re.findall(r'EvidenceRefused[(,]\s*"([a-z_0-9]+)"', source))
    assert len(named) > 15  # the pattern still finds them
    named |= {
        f"certificate_{name}" for name in ("encoding", "extensions", "ca", "key", "signature")
    }
    named |= set(TDX_REGISTERS)
    assert sorted(name for name in named if f"`{name}`" not in TEXT) == []
