"""A small world for the Criteo tests: two numeric and three categorical columns, real contracts."""

import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from coterie.contract import Contract, DataSection, parse_contract
from tests.conftest import REPOSITORY

PARTIES = ("acme", "bolt", "corn")


@pytest.fixture
def data() -> DataSection:
    return DataSection(
        numeric=("I1", "I2"), categorical=("C1", "C2", "C3"), rows=50, column_rows={"C2": 2}
    )


@pytest.fixture
def make_contract() -> Callable[[str, dict[str, int]], Contract]:
    """Builds a contract of the small schema: ``make_contract("hfl", {"min_count": 2})``."""

    def make(mode: str, data: dict[str, int]) -> Contract:
        nodes = [("ps0", "ps", "operator")]
        if mode == "hfl":
            nodes += [(f"{party}-worker", "worker", party) for party in PARTIES]
        else:
            nodes += [("chief0", "chief", "acme"), ("worker0", "worker", "operator")]
        lines = ["format = 1", 'name = "small"', f'mode = "{mode}"']
        for party in ("operator", *PARTIES):
            lines += ["[[parties]]", f'name = "{party}"']
        for name, role, party in nodes:
            lines += ["[[nodes]]", f'name = "{name}"', f'role = "{role}"', f'party = "{party}"']
        lines += ["[data]", 'numeric = ["I1", "I2"]', 'categorical = ["C1", "C2", "C3"]']
        lines += [f"{key} = {value}" for key, value in {"rows": 50, **data}.items()]
        lines += ["[trust]", 'tee = "simulated"']
        for role in sorted({role for _, role, _ in nodes}):
            lines += [f"[trust.roles.{role}]", 'measurement = "own"']
            lines += ['accepted_tcb_statuses = ["UpToDate"]']
        return parse_contract("\n".join(lines).encode(), "small")

    return make


@pytest.fixture
def small_rows() -> list[bytes]:
    """84 rows; row i holds the number i, an id of its own and ids that repeat."""
    return [
        f"{i % 2}\t{i}\t{-i}\tid{i}\tc{i % 5}\t{'' if i % 3 else 'x'}".encode() for i in range(84)
    ]


@pytest.fixture
def small_file(tmp_path: Path, small_rows: list[bytes]) -> Path:
    path = tmp_path / "raw.tsv"
    path.write_bytes(b"\n".join(small_rows) + b"\n")
    return path


@pytest.fixture
def compressors() -> dict[str, Callable[[bytes], bytes]]:
    return {
        "plain": lambda text: text,
        "gzip": gzip.compress,
        "xz": lzma.compress,
        "zstd": zstandard.ZstdCompressor().compress,
    }


@pytest.fixture(scope="session")
def real_sample() -> Path:
    """137,139 real rows, beside the checkout; licensed for research, so never part of it."""
    path = REPOSITORY.parent / "shared" / "data" / "criteo_kaggle_sample.tsv.xz"
    if not path.exists():
        pytest.skip(f"the real Criteo sample is absent: {path}")
    return path
