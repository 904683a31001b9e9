"""Cases with real processes: nodes are killed, cut off, or go away."""

from __future__ import annotations

import time
from pathlib import Path

from faults.nodes import CaseFailed, running_nodes
from faults.plan import Kill, Kills, Lines
from faults.scene import Scene


def run_with_kills(kills: Kills, scene: Scene, folder: Path) -> tuple[str, str]:
    """Kills nodes by SIGKILL and starts them again; the model's digest, and what happened.

    Raises:
        CaseFailed: A node hung or ended with an error.
    """
    nodes = scene.contract.nodes
    killed: list[str] = []
    with running_nodes(scene, folder) as running:
        for kill in kills.kills:
            if not running.wait_steps(kill.after_steps):
                break
            node = nodes[kill.node % len(nodes)]
            if running.kill(node.name):
                killed.append(node.name)
                time.sleep(kill.pause_seconds)  # the fault itself: the node stays away
                running.start(node)
        return running.finish(), f"killed {', '.join(killed) or 'nobody: the run was over'}"


def run_with_hurt_lines(lines: Lines, scene: Scene, folder: Path) -> tuple[str, str]:
    """Hurts connections; the model's digest, and what happened.

    Raises:
        CaseFailed: A node hung or ended with an error.
    """
    happened: list[str] = []
    with running_nodes(scene, folder, relayed=True) as running:
        for fault in lines.faults:
            if not running.wait_steps(fault.after_steps):
                break
            place = fault.node % len(running.relays)
            relay = running.relays[place]
            (relay.cut if fault.kind == "cut" else relay.stall)()
            happened.append(f"{fault.kind} {list(running.listening)[place]}")
        return running.finish(), ", ".join(happened) or "nothing: the run was over"


def run_without(removed: Kill, scene: Scene, folder: Path) -> str:
    """Lets a node go away for good; what happened.

    Raises:
        CaseFailed: The run did not end with errors of which one names the node.
    """
    nodes = scene.contract.nodes
    node = nodes[removed.node % len(nodes)]
    with running_nodes(scene, folder) as running:
        if not running.wait_steps(removed.after_steps) or not running.kill(node.name):
            raise CaseFailed(f"the run was over before {node.name} could be removed")
        running.expect_failure(node.name)
    return f"removed {node.name}"
