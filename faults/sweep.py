"""A fault at every point of a run's disks: ``python -m faults.sweep [--every N]``.

Every write, sync and change of a name of one node fails once (EIO, input/output error); and, after every
sync, one node's machine loses its power. Each time the run must end with the undisturbed model: who ends
with an error of the tree is started again. The nodes are threads of this process, so that thousands of
runs are possible; ``python -m faults`` plays some of the same with processes.
"""

from __future__ import annotations

import argparse
import errno
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from coterie.errors import CoterieError
from coterie.runs.events import Finished
from faults.disk import PowerCut
from faults.failing_disk import FailingDisk, Point
from faults.nodes import CaseFailed
from faults.plan import Scheme
from faults.scene import Pace, Scene, scenes
from faults.threads import Nodes, Told

_SCHEME: Scheme = "hfl-2-shards"
_NODES = ("ps0", "ps1", "acme-worker")
_RESTARTS = 3


def main() -> int:
    """Plays the sweeps; 1 if any run did not end as it must."""
    parser = argparse.ArgumentParser(prog="python -m faults.sweep", description=__doc__)
    parser.add_argument(
        "--every", type=int, default=1, metavar="N", help="play every Nth point only"
    )
    every = parser.parse_args().every
    played = failed = 0
    with tempfile.TemporaryDirectory(prefix="coterie-sweep-") as name:
        folder = Path(name)
        pace = Pace(patience=20, epochs=1, checkpoint_steps=15)
        scene = scenes(folder / "scenes", pace)[_SCHEME]
        expected, _ = run(scene, folder / "undisturbed", nullcontext())
        for what, digest in (
            *_failing_points(scene, folder, every),
            *_power_cuts(scene, folder, every),
        ):
            played += 1
            if digest != expected:
                failed += 1
                sys.stdout.write(f"{what}: {digest or 'failed'}\n")
                sys.stdout.flush()
    sys.stdout.write(f"{played} points, {failed} failed\n")
    return int(bool(failed))


def run(
    scene: Scene, folder: Path, around: AbstractContextManager[object]
) -> tuple[str, list[str]]:
    """Runs a scene's nodes until all have ended well, and starts again who does not.

    Args:
        scene: Contract and data.
        folder: Holds the nodes' folders; what is there is gone on with.
        around: Is open meanwhile.

    Returns:
        The model's digest, and who was started again.

    Raises:
        CaseFailed: A node ended without an error of the tree, again and again, or not at all.
    """
    again: list[str] = []
    digest = ""
    with around, Nodes(scene, folder) as nodes:
        going = [nodes.start(node.name) for node in scene.contract.nodes]
        while going:
            told = nodes.next_end()
            going.remove(told)
            digest = _digest(told) or digest
            if told.error is None:
                continue
            if not isinstance(told.error, CoterieError) or again.count(told.name) == _RESTARTS:
                raise CaseFailed(f"{told.name} ended: {told.error!r}") from told.error
            again.append(told.name)
            going.append(nodes.start(told.name))
    return digest, again


def _digest(told: Told) -> str:
    return "".join(str(event.result["model_digest"]) for event in told.of(Finished))


def _failing_points(scene: Scene, folder: Path, every: int) -> Iterator[tuple[str, str]]:
    for name in _NODES:
        home = folder / "counted" / name
        disk = FailingDisk(home / name, lambda _: None)
        run(scene, home, disk.installed())
        sys.stdout.write(f"{name} reaches its disk at {len(disk.points)} points\n")
        for number in range(0, len(disk.points), every):
            home = folder / f"{name}-{number}"
            failing = FailingDisk(home / name, _failing_at(number))
            what = f"EIO at point {number} of {name}"
            yield _outcome(what, scene, home, failing.installed())


def _failing_at(number: int) -> Callable[[Point], int | None]:
    return lambda point: errno.EIO if point.number == number else None


def _power_cuts(scene: Scene, folder: Path, every: int) -> Iterator[tuple[str, str]]:
    for name in _NODES:
        images = folder / f"{name}-images"
        count = _keep_images(scene, folder / "cut" / name, name, images)
        sys.stdout.write(f"{name} syncs {count} times\n")
        for number in range(1, count + 1, every):
            what = f"no power after sync {number} of {name}"
            yield _outcome(what, scene, images / str(number), nullcontext())


def _keep_images(scene: Scene, home: Path, name: str, images: Path) -> int:
    """Keeps what a power cut would leave of one node's folder after each sync, and the others' as they are."""
    (home / name).mkdir(parents=True)
    count = 0

    def keep(path: Path) -> None:
        nonlocal count
        if not path.is_relative_to(disk.root):
            return
        count += 1
        image = images / str(count)
        image.mkdir(parents=True)
        disk.image(image / name)
        for other in home.iterdir():
            if other.name != name:
                shutil.copytree(other, image / other.name)

    disk = PowerCut((home / name).resolve(), keep)
    run(scene, home, disk.watching())
    return count


def _outcome(
    what: str, scene: Scene, home: Path, around: AbstractContextManager[object]
) -> tuple[str, str]:
    try:
        digest, _ = run(scene, home, around)
    except CaseFailed as error:
        what, digest = f"{what}: {error}", ""
    shutil.rmtree(home, ignore_errors=True)
    return what, digest


if __name__ == "__main__":
    sys.exit(main())
