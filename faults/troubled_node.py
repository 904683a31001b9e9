"""A node on a machine that fails: ``python -m faults.troubled_node --root DIR [...] node ...``.

``--error`` lets its disk fail at the points that ``--first`` and ``--while`` tell; ``--images`` keeps what a
power cut would leave, which comes at ``--cut-at``. The rest are the words of ``coterie``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
from contextlib import ExitStack
from pathlib import Path

from coterie.cli.main import main as coterie
from faults.disk import PowerCut
from faults.failing_disk import FailingDisk, Point, error_named

FAILED = "the disk fails:"


def main() -> None:
    """Starts the node."""
    parser = argparse.ArgumentParser(prog="python -m faults.troubled_node", description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="the folder on the machine's disk")
    parser.add_argument("--error", help="what the system says, EIO for one")
    parser.add_argument("--first", type=int, default=0, help="the first point that fails")
    parser.add_argument(
        "--while", dest="lasts", type=Path, help="all after it fail as long as this file is there"
    )
    parser.add_argument("--images", type=Path, help="where to keep what a power cut would leave")
    parser.add_argument("--cut-at", type=int, default=0, help="end at this sync")
    parser.add_argument("words", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    sys.argv = ["coterie", *given.words]

    def fails(point: Point) -> int | None:
        due = point.number == given.first or (
            given.lasts is not None and point.number > given.first and given.lasts.exists()
        )
        if due:
            sys.stderr.write(f"{FAILED} {point.kind} {point.path.name}\n")
        return error_named(given.error) if due else None

    with ExitStack() as stack:
        if given.images is not None:
            images = Images(given.root, given.images, given.cut_at)
            stack.enter_context(images.disk.watching())
        if given.error is not None:
            stack.enter_context(FailingDisk(given.root, fails).installed())
        coterie()


class Images:
    """Keeps, after every sync, what a power cut would leave; ends the process at one of them.

    Args:
        root: The folder on the disk, empty at first.
        folder: Gets the newest image, under the number of its sync.
        cut_at: The sync after which the power is gone; 0: none.
    """

    def __init__(self, root: Path, folder: Path, cut_at: int) -> None:
        self.disk = PowerCut(root, self._keep)
        self._folder = folder
        self._cut_at = cut_at
        self._syncs = 0

    def _keep(self, _path: Path) -> None:
        self._syncs += 1
        whole = self._folder / str(self._syncs)
        self.disk.image(whole.with_suffix(".partial")).rename(whole)
        if self._syncs == self._cut_at:
            os.kill(os.getpid(), signal.SIGKILL)
        shutil.rmtree(self._folder / str(self._syncs - 1), ignore_errors=True)


def newest_image(folder: Path) -> Path | None:
    """The last image that was made; None where none was."""
    numbers = [int(path.name) for path in folder.iterdir() if path.suffix != ".partial"]
    return folder / str(max(numbers)) if numbers else None


if __name__ == "__main__":
    main()
