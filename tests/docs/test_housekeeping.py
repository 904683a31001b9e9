"""What the project's own files promise: the gate, the hooks, the changelog, types."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml
from hatchling.builders.sdist import SdistBuilder

import coterie
from tests.conftest import REPOSITORY

ROOT = REPOSITORY
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, flags=re.MULTILINE))


def test_the_gate_runs_what_it_should() -> None:
    gate = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert {"check", "docs", "coverage", "test-slow", "dist", "faults-short"} <= set(
        re.findall(r"^make ([a-z-]+)", gate, flags=re.MULTILINE)
    )


def test_what_test_leaves_out_is_what_test_slow_runs() -> None:
    """So that `make coverage` and `make test-slow`, as in the gate, are `make test-all`."""
    chosen = dict(re.findall(r"^([a-z-]+):.*\n\t\$\(PYTEST\)(.*)$", MAKEFILE, flags=re.MULTILINE))
    assert chosen["test"].strip() == '-m "not slow"'
    assert chosen["coverage"].startswith(chosen["test"])
    assert chosen["test-slow"].strip() == '-m "slow or sampled" --exhaustive'
    assert chosen["test-all"].strip() == "--exhaustive"


def test_every_target_for_people_has_its_line_of_help() -> None:
    phony = MAKEFILE.partition(".PHONY:")[2].partition("\n\n")[0].replace("\\", "").split()
    helped = re.findall(r"^([a-z-]+):.* ## [a-z].*[^.]$", MAKEFILE, flags=re.MULTILINE)
    assert sorted(helped) == sorted(phony)


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", ".ci/run", "docs/benchmarks.md"])
def test_make_targets_that_are_named_exist(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    named = set(re.findall(r"(?:^|[`(])make ([a-z-]+)", text, flags=re.MULTILINE))
    assert named
    assert named <= TARGETS


def test_hooks_run_the_checks_tools_and_fetch_nothing() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert [repository["repo"] for repository in hooks["repos"]] == ["local"]
    entries = [hook["entry"] for hook in hooks["repos"][0]["hooks"]]
    assert {hook["language"] for hook in hooks["repos"][0]["hooks"]} == {"system"}
    assert {entry.split()[0] for entry in entries} <= {
        f".venv/bin/{name}" for name in ("clang-format", "lint-imports", "ruff", "mypy", "python")
    }
    _, _, check = MAKEFILE.partition("\ncheck:")
    commands = re.findall(r"\$\(BIN\)/(.+)", check.partition("\n\n")[0])
    for command in commands:
        words = command.replace("--check", "").replace("$(C_FILES)", "").split()
        assert any(
            entry.removeprefix(".venv/bin/").split()[: len(words)] == words for entry in entries
        )


def test_the_changelog_has_this_version_first() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    first = re.search(r"^## (\S+?),? ", text, flags=re.MULTILINE)
    assert first is not None
    assert first.group(1) == coterie.__version__


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(coterie.__file__).parent / "py.typed").is_file()


def test_every_decision_has_a_number_of_its_own() -> None:
    pages = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    for page in pages:
        title = page.read_text(encoding="utf-8").partition("\n")[0]
        assert title.startswith(f"# {int(page.name[:4])}. "), page.name


def test_the_source_archive_holds_no_data_or_runs_of_a_checkout(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    kept = {"src/coterie/__init__.py", "requirements/dev.lock", "README.md", "pyproject.toml"}
    strangers = {"data/acme/train.examples", "run1/keys/acme.pem", "shop.csv", "acme.pem"}
    for name in (kept | strangers) - {"pyproject.toml"}:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    included = SdistBuilder(str(tmp_path)).recurse_included_files()
    assert {one.distribution_path for one in included} == kept
