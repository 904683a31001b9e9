"""Converts pydantic's findings on a contract into an error that names keys, values and a remedy."""

from __future__ import annotations

from pydantic import ValidationError

from coterie.errors import ContractInvalid


def invalid(what: str, error: ValidationError) -> ContractInvalid:
    """The error of values that break the schema.

    Args:
        what: Description of the file, as in ``the contract hfl.toml``.
        error: Pydantic's error.
    """
    problems = error.errors(include_url=False)
    lines = []
    for problem in problems[:5]:
        key = _key(problem["loc"]) or "the contract"
        message = problem["msg"].removeprefix("Value error, ")
        seen = "" if isinstance(problem["input"], dict) else f" (seen: {problem['input']!r:.80})"
        if problem["type"] == "extra_forbidden":
            message, seen = "unknown key", ""
        lines.append(f"{key}: {message}{seen}")
    if len(problems) > 5:
        lines.append(f"and {len(problems) - 5} more")
    return ContractInvalid(
        f"{what} is not valid",
        expected="the schema in docs/contract.md",
        seen="; ".join(lines),
        remedy="correct or remove the keys that are named",
    )


def _key(location: tuple[int | str, ...]) -> str:
    """A key as in the file, without the tag that pydantic adds after ``model``."""
    first, *rest = location or ("",)
    if first == "model" and rest and rest[0] in {"dlrm", "keras"}:
        rest = rest[1:]
    return ".".join(str(part) for part in (first, *rest))
