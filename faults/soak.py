"""A long undisturbed run: ``python -m faults.soak --steps 20000`` fails if any node's memory grows.

Real processes, attested, two shards, a checkpoint every hundred steps. Memory is read at a quarter
of the run, when caches are warm, and at seven eighths of it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from faults.nodes import running_nodes
from faults.plan import Scheme
from faults.scene import Pace, scenes

_STEPS_PER_EPOCH = 47
_PIECES = 8
_GROWTH_BYTES_PER_STEP = 512
_SCHEME: Scheme = "hfl-2-shards"


def main() -> int:
    """Runs; 1 if the memory of a node grew."""
    parser = argparse.ArgumentParser(prog="python -m faults.soak", description=__doc__)
    parser.add_argument("--steps", type=int, default=20_000, help="at least so many")
    steps = parser.parse_args().steps
    pace = Pace(epochs=steps // _STEPS_PER_EPOCH + 1, checkpoint_steps=100)
    readings = []
    with tempfile.TemporaryDirectory(prefix="coterie-soak-") as name:
        scene = scenes(Path(name) / "scenes", pace)[_SCHEME]
        with running_nodes(scene, Path(name)) as running:
            for piece in range(1, _PIECES):
                running.wait_steps(steps // _PIECES)
                readings.append(running.memory())
                _say(f"{piece * steps // _PIECES:>7,} steps", readings[-1])
            digest = running.finish()
    early, late = readings[_PIECES // 4 - 1], readings[-1]
    between = (_PIECES - 1 - _PIECES // 4) * steps // _PIECES
    growth = {name: late[name] - early[name] for name in early}
    _say("growth", growth)
    grown = [name for name, more in growth.items() if more > _GROWTH_BYTES_PER_STEP * between]
    sys.stdout.write(f"model {digest[:16]}; {', '.join(grown) or 'no node'} grew\n")
    return int(bool(grown))


def _say(what: str, held: dict[str, int]) -> None:
    cells = ", ".join(f"{name} {octets / 1e6:.1f} MB" for name, octets in held.items())
    sys.stdout.write(f"{what}: {cells}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
