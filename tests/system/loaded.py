"""``python -m tests.system.loaded node CONTRACT NAME --out DIR ...``: a node that lists what it has loaded.

It runs ``coterie`` with these arguments and writes the names of Coterie's loaded modules to
``DIR/loaded.txt``, one a line, when it ends.
"""

from __future__ import annotations

import atexit
import sys
from pathlib import Path


def main() -> None:
    """Runs the command; the list is written however it ends."""
    out = Path(sys.argv[sys.argv.index("--out") + 1])
    atexit.register(lambda: (out / LISTED).write_text("\n".join(own_modules()) + "\n"))
    from coterie.cli.main import main as run

    run()


LISTED = "loaded.txt"


def own_modules() -> list[str]:
    """Names of Coterie's modules in this process."""
    return sorted(name for name in sys.modules if name.split(".")[0] == "coterie")


if __name__ == "__main__":
    main()
