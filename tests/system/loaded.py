"""What a node's process loads of Coterie: ``python -m tests.system.loaded node CONTRACT NAME --out DIR ...``.

It runs ``coterie`` with these arguments and writes the names of Coterie's loaded modules to
``DIR/loaded.txt``, one a line, when the process ends.
"""

from __future__ import annotations

import ast
import atexit
import io
import sys
import tokenize
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

LISTED = "loaded.txt"
_NO_CODE = frozenset(
    {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    }
)


def main() -> None:
    """Runs the command; the list is written however it ends."""
    out = Path(sys.argv[sys.argv.index("--out") + 1])
    atexit.register(lambda: (out / LISTED).write_text("\n".join(own_modules()) + "\n"))
    from coterie.cli.main import main as run

    run()


def own_modules() -> list[str]:
    """Names of Coterie's modules in this process."""
    return sorted(name for name in sys.modules if name.split(".")[0] == "coterie")


def lines_of_code(module: str) -> int:
    """How many lines of a module are code: no blank ones, no comments, no docstrings."""
    found = find_spec(module)
    assert found is not None
    assert found.origin is not None
    text = Path(found.origin).read_text()
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in _NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and ast.get_docstring(node, clean=False) is not None:
                lines -= set(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    return len(lines)


def check_lines(who: str, modules: set[str], cap: int, known: set[str]) -> None:
    """Fails where a process loads more lines of code than its cap.

    Args:
        who: Whose process, for the message.
        modules: What it has loaded.
        cap: The most lines.
        known: What it had loaded when the cap was set.
    """
    lines = {module: lines_of_code(module) for module in modules}
    total = sum(lines.values())
    new = sorted(modules - known, key=lambda module: -lines[module])
    folders: Counter[str] = Counter()
    for module, count in lines.items():
        folders[".".join(module.split(".")[:2])] += count
    print(f"{who}: {total} lines of code in {len(lines)} modules; {folders.most_common()}")
    assert total <= cap, (
        f"a {who} loads {total} lines of code, {total - cap} too many; modules that it did not load "
        f"before: {[f'{module} ({lines[module]})' for module in new] or 'none: others grew'}"
    )


if __name__ == "__main__":
    main()
