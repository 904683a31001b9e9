"""One mutation of the table, and what must hold of the table before anything is tried."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

PACKAGE = "src/coterie"


@dataclass(frozen=True)
class Mutation:
    """A change of meaning that tests must notice.

    Attributes:
        name: Of the mutation, among those of its module.
        file: What is changed, below ``src/coterie``.
        old: The text that is replaced; occurs once.
        new: What stands there instead.
        breaks: What does not hold any more.
        tests: What must notice, below ``tests``: files or folders beside the module's own place.
        survives: Why no test can notice; empty where one must.
    """

    name: str
    file: str
    old: str
    new: str
    breaks: str
    tests: tuple[str, ...]
    survives: str = ""

    @property
    def title(self) -> str:
        """Module and name, unique in the table."""
        return f"{self.file.removesuffix('.py')}/{self.name}"


class Of:
    """Makes the mutations of one module.

    Args:
        file: The module, below ``src/coterie``.
        tests: What must notice, below ``tests``.
    """

    def __init__(self, file: str, *tests: str) -> None:
        self._file = file
        self._tests = tests

    def __call__(
        self, name: str, old: str, new: str, breaks: str, *, survives: str = ""
    ) -> Mutation:
        """A mutation of the module."""
        return Mutation(name, self._file, old, new, breaks, self._tests, survives)


def mutated(mutation: Mutation, text: str) -> str:
    """A module's text with the mutation in it."""
    return text.replace(mutation.old, mutation.new)


def problems(table: Sequence[Mutation], root: Path) -> list[str]:
    """What is wrong with a table: it must fit the code as it is now.

    Args:
        table: The mutations.
        root: Of the project.

    Returns:
        A sentence for each fault.
    """
    names = Counter(mutation.title for mutation in table)
    found = [
        f"{name}: {count} mutations of this name" for name, count in names.items() if count > 1
    ]
    for mutation in table:
        found += [f"{mutation.title}: {fault}" for fault in _faults(mutation, root)]
    return found


def _faults(mutation: Mutation, root: Path) -> list[str]:
    path = root / PACKAGE / mutation.file
    if not path.is_file():
        return [f"there is no {PACKAGE}/{mutation.file}"]
    text = path.read_text()
    if (times := text.count(mutation.old)) != 1:
        return [f"the text to replace occurs {times} times in {mutation.file}, expected once"]
    if mutation.old == mutation.new:
        return ["nothing is changed"]
    try:
        compile(mutated(mutation, text), mutation.file, "exec", dont_inherit=True)
    except SyntaxError as error:
        return [f"the mutated module is no Python: {error.msg}, line {error.lineno}"]
    # A test that notices by accident, far away, may go tomorrow: the module's own folder must.
    folder = PurePosixPath(mutation.file).parent
    homes = {folder, *folder.parents} - {PurePosixPath()} or {folder}
    found = [] if mutation.tests else ["no tests are named"]
    for name in mutation.tests:
        if not (root / "tests" / name).exists():
            found.append(f"there is no tests/{name}")
        elif not homes & {PurePosixPath(name), PurePosixPath(name).parent}:
            found.append(f"tests/{name} is not beside the place of {mutation.file}")
    return found
