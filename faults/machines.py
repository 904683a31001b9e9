"""Cases of machines: disks that fail, power cuts, limits, and two processes where one should be."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Sequence
from pathlib import Path

from coterie.contract import Node
from faults.failing_disk import error_named
from faults.nodes import CaseFailed, Nodes, running_nodes, status_bytes
from faults.plan import DiskTrouble, Double, Limit, PowerFailure
from faults.scene import Scene
from faults.troubled_node import FAILED, newest_image

_MODULE = "faults.troubled_node"


def run_with_disk_trouble(trouble: DiskTrouble, scene: Scene, folder: Path) -> tuple[str, str]:
    """Lets a node's disk fail; the model's digest, and what happened.

    Raises:
        CaseFailed: A node hung, or ended without an error's name.
    """
    node = _node(scene, trouble.node)
    launcher = [_MODULE, "--root", str(folder / node.name), "--error", trouble.error]
    launcher += ["--first", str(trouble.first)]
    flag = folder / "no-room"
    if trouble.lasts:
        flag.touch()
        launcher += ["--while", str(flag)]
    with running_nodes(scene, folder, launchers={node.name: launcher}) as running:
        if trouble.lasts:
            running.wait_trouble(os.strerror(error_named(trouble.error)))
            flag.unlink()
        digest, restarted = running.finish_restarting()
        failed = running.said(node.name).count(FAILED)
    return (
        digest,
        f"{node.name} {failed} times {trouble.error} from point {trouble.first}{_again(restarted)}",
    )


def run_with_power_failure(failure: PowerFailure, scene: Scene, folder: Path) -> tuple[str, str]:
    """Cuts the power of machines; the model's digest, and what happened.

    Raises:
        CaseFailed: A node hung, or ended with an error.
    """
    first = _node(scene, failure.node)
    nodes = scene.contract.nodes if failure.everywhere else (first,)
    launchers: dict[str, Sequence[str]] = {}
    for node in nodes:
        images = folder / f"{node.name}.images"
        images.mkdir()
        launchers[node.name] = [
            *(_MODULE, "--root", str(folder / node.name), "--images", str(images)),
            *(("--cut-at", str(failure.at_sync)) if node == first else ()),
        ]
    cut: list[Node] = []
    with running_nodes(scene, folder, launchers=launchers) as running:
        if running.wait_killed(first.name):
            cut = [node for node in nodes if node == first or running.kill(node.name)]
            for node in cut:
                _put_back(running.home(node.name), folder / f"{node.name}.images")
                running.start(node)
        digest = running.finish()
    names = ", ".join(node.name for node in cut)
    return digest, f"no power at sync {failure.at_sync} of {first.name}: {names or 'over'}"


def run_with_double(double: Double, scene: Scene, folder: Path) -> tuple[str, str]:
    """Starts a second process of a node; the model's digest, and what happened.

    Raises:
        CaseFailed: A node hung; or none of the two ended, or without an error's name.
    """
    node = _node(scene, double.node)
    second = f"{node.name}-again"
    home = node.name if double.same_folder else second
    where = "the same folder" if double.same_folder else "a folder of its own"
    with running_nodes(scene, folder) as running:
        if not running.wait_steps(double.after_steps) or not _hold(scene, running, node):
            return running.finish(), "nothing: the run was over"
        running.start(node, name=second, home=home)
        ended = running.wait_any_end((node.name, second))
        if double.same_folder and ended != second:
            raise CaseFailed(f"the first of two in one folder ended: {running.last_words()}")
        running.check_named(ended)
        running.start(_other(scene, node))
        kept = home if ended == node.name else node.name
        digest = running.finish(besides=ended, homes={node.name: kept})
    return digest, f"two of {node.name}, the second in {where}: {ended} ended"


def run_with_limit(limit: Limit, scene: Scene, folder: Path) -> tuple[str, str]:
    """Lets a process come to a limit; the model's digest, and what happened.

    Raises:
        CaseFailed: A node hung, or ended without an error's name.
    """
    node = _node(scene, limit.node)
    with running_nodes(scene, folder) as running:
        if not running.wait_steps(limit.after_steps) or not _hold(scene, running, node):
            return running.finish(), "nothing: the run was over"
        process = running.process(node.name)
        which, most = _limit(limit, process.pid)
        before = resource.prlimit(process.pid, which)
        resource.prlimit(process.pid, which, (most, before[1]))
        running.start(_other(scene, node))  # its new connections take some of everything
        if limit.kind == "memory":
            # No program holds without memory: it may end in any way, or not at all. The others must hold.
            running.wait_trouble(besides=node.name)
            if running.kill(node.name):
                running.wait_any_end((node.name,))
                running.start_again(node.name)
        else:
            running.wait_trouble()
            if process.poll() is None:
                resource.prlimit(process.pid, which, before)
        digest, restarted = running.finish_restarting()
    return digest, f"{node.name} {limit.kind} at most {most:,}{_again(restarted)}"


def _limit(limit: Limit, process: int) -> tuple[int, int]:
    match limit.kind:
        case "descriptors":
            return resource.RLIMIT_NOFILE, len(
                list(Path(f"/proc/{process}/fd").iterdir())
            ) + limit.slack
        case "memory":
            return resource.RLIMIT_AS, status_bytes(process, "VmSize") + (limit.slack << 10)
        case "file size":
            return resource.RLIMIT_FSIZE, limit.slack << 10


def _node(scene: Scene, place: int) -> Node:
    return scene.contract.nodes[place % len(scene.contract.nodes)]


def _hold(scene: Scene, running: Nodes, node: Node) -> bool:
    """Takes another node away, so that the run waits; False if it is over."""
    return running.kill(_other(scene, node).name)


def _other(scene: Scene, node: Node) -> Node:
    """A worker that is not this node: without it no step is done."""
    return next(worker for worker in scene.contract.by_role("worker") if worker != node)


def _put_back(home: Path, images: Path) -> None:
    shutil.rmtree(home)
    image = newest_image(images)
    if image is None:
        home.mkdir()
    else:
        image.rename(home)


def _again(restarted: list[str]) -> str:
    return f"; started again: {', '.join(restarted)}" if restarted else ""
