"""Names and reading of the files that a run leaves beside its result."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from coterie.contract import Contract, canonical_json
from coterie.errors import DataError
from coterie.files import read_bounded, write_whole, writing

RECEIPT = "receipt.jsonl"
PARENTS = "parents"
CONTRACT = "contract.json"
Record = TypeVar("Record", bound=BaseModel)


def keep_contract(folder: Path, contract: Contract) -> None:
    """Writes the contract that a run or node ran under, for its report.

    Raises:
        EnvironmentUnfit: It cannot be written.
    """
    path = folder / CONTRACT
    with writing(path):
        write_whole(path, canonical_json(contract))


def parent_receipts(receipt: Path) -> tuple[Path, ...]:
    """Receipts of earlier runs; ``coterie run --continue`` keeps them in ``parents``."""
    return tuple(sorted((receipt.parent / PARENTS).glob("*.jsonl")))


def read_beside(
    path: Path, kind: type[Record], *, max_bytes: int, holds: str, without: str
) -> Record | None:
    """Reads a file; None if it is absent.

    Args:
        path: The file.
        kind: Model of its content.
        max_bytes: Largest size that is read.
        holds: Description of its content, for errors.
        without: What the report lacks if the file is deleted, for errors.

    Raises:
        DataError: The file is too large or malformed.
    """
    try:
        return kind.model_validate_json(read_bounded(path, max_bytes))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise DataError(
            f"{path} holds no {holds} of this version",
            expected="what a run writes beside its result",
            seen=str(error.errors()[0])[:300],
            remedy=f"delete the file: the report is then made without {without}",
        ) from error
