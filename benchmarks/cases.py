"""What is compared with what; every case gives one ``Compared``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from benchmarks.comparing import Compared, Figures, Unavailable, take_turns
from benchmarks.runs import Setup, Transport, Workshop
from benchmarks.tables import CRITEO_ROWS, SMALL_ROWS, table_figures
from benchmarks.thin import EXCHANGES, LOCAL_STEPS, ThinLines

_PEER_SECONDS = 600.0
# At these sizes a run trains for ten seconds or more on two cores.
_SMALL, _LARGE = 128, 32
_LONG = 1024  # until the table's memory has been touched
_ROUNDS, _WHOLE_ROUNDS, _FLARE_ROUNDS = 32, 4, 8
SCALES = {
    "HFL 4 x 128": Setup("hfl", 4, 128, steps=_SMALL),
    "HFL 4 x 2,048": Setup("hfl", 4, 2048, steps=_LARGE),
    "SDT 2 x 128": Setup("sdt", 2, 128, steps=2 * _SMALL),
    "SDT 2 x 2,048": Setup("sdt", 2, 2048, steps=_LARGE),
}
PEERS = {
    "4 x 128": Setup("hfl", 4, 128, steps=_SMALL),
    "2 x 2,048": Setup("hfl", 2, 2048, steps=_LARGE),
}
EXCHANGE = {f"{n} x 128": Setup(workers=n, steps=512 // n, fixed_gradients=True) for n in (4, 16)}
GROWTH = {
    "workers": [Setup(workers=n, steps=256 // n + 32) for n in (1, 2, 4, 8, 16)],
    "shards": [Setup(shards=n, steps=96) for n in (1, 2, 4)],
    "rows": [Setup(rows=n, steps=96) for n in (100_000, 1_000_000, 10_000_000, CRITEO_ROWS)],
    "batch": [
        Setup(workers=2, batch=n, steps=max(16, 96 * 128 // n)) for n in (128, 512, 2048, 8192)
    ],
}
# Names of environment variables: the Pythons of peers that are not among the project's packages.
PYTHONS = {
    "torch_single": "COTERIE_BENCHMARK_TORCH_PYTHON",
    "flower_round": "COTERIE_BENCHMARK_FLOWER_PYTHON",
    "flare_round": "COTERIE_BENCHMARK_FLARE_PYTHON",
}


@dataclass(frozen=True)
class Suite:
    """How the cases are run.

    Attributes:
        workshop: Runs Coterie.
        repeat: Turns of every comparison.
        quick: A tenth of the steps: whether everything works, not how fast.
        sample: A Criteo file for what depends on data; absent: synthetic rows.
    """

    workshop: Workshop
    repeat: int
    quick: bool
    sample: Path | None = None

    def overhead(self) -> dict[str, Compared]:
        """Attested against plaintext."""
        return self._overheads(SCALES)

    def exchange(self) -> dict[str, Compared]:
        """Likewise, of workers that have gradients without computing them."""
        return self._overheads(EXCHANGE)

    def peers(self) -> dict[str, Compared]:
        """Attested Coterie against stock TensorFlow's server, one process, and rounds of Flower and FLARE."""
        return {
            name: take_turns(
                {
                    "coterie ra-tls": self._ours(setup, "ra-tls"),
                    "tensorflow ps": self._peer("tensorflow_ps", setup, "tables"),
                    "tensorflow ps fused": self._peer("tensorflow_ps", setup, "fused"),
                    "tensorflow single": self._peer("tensorflow_single", setup, "graph"),
                    "tensorflow single xla": self._peer("tensorflow_single", setup, "xla"),
                    "pytorch single": self._peer("torch_single", setup, "eager"),
                    "flower, dense only": self._peer(
                        "flower_round", replace(setup, steps=_ROUNDS), "dense"
                    ),
                    "flower, with table": self._peer(
                        "flower_round", replace(setup, steps=_WHOLE_ROUNDS), "whole"
                    ),
                    "flare, dense only": self._peer(
                        "flare_round", replace(setup, steps=_FLARE_ROUNDS), "dense"
                    ),
                },
                self.repeat,
                name,
            )
            for name, setup in PEERS.items()
        }

    def growth(self) -> dict[str, Compared]:
        """One thing grows, the others stay; one turn each."""
        return {
            axis: take_turns(
                {f"{getattr(setup, axis):,}": self._ours(setup, "ra-tls") for setup in setups},
                1,
                f"growth of {axis}",
            )
            for axis, setups in GROWTH.items()
        }

    def checkpoints(self) -> dict[str, Compared]:
        """A checkpoint every two seconds or so, open and sealed, against none but the last."""
        setup = Setup("hfl", 4, 128, steps=_SMALL)
        often = replace(setup, checkpoint_steps=32)
        return {
            "HFL 4 x 128": take_turns(
                {
                    "every 32 steps": self._ours(often, "ra-tls"),
                    "every 32 steps, sealed": self._ours(
                        replace(often, seal_checkpoints=True), "ra-tls"
                    ),
                    "none": self._ours(setup, "ra-tls"),
                },
                self.repeat,
                "checkpoints",
            )
        }

    def tables(self) -> dict[str, Compared]:
        """Criteo's number of rows against a million: the shard's own work, and whole steps."""
        return {
            "shard": take_turns({"criteo": table_figures}, 1, "a shard alone"),
            "whole steps": take_turns(
                {
                    f"{rows:,}": self._ours(Setup(rows=rows, steps=_LONG), "ra-tls")
                    for rows in (SMALL_ROWS, CRITEO_ROWS)
                },
                min(3, self.repeat),
                "whole steps",
            ),
        }

    def thin(self) -> dict[str, Compared]:
        """Every form of the exchange through thin and long lines; one turn each."""
        lines = ThinLines(self.workshop, self.workshop.new_folder("thin"), self.sample)
        chosen = tuple(LOCAL_STEPS)[-1:] if self.quick else tuple(LOCAL_STEPS)
        return {
            exchange: take_turns(
                {str(steps): partial(lines.figures, exchange, steps) for steps in chosen},
                1,
                f"{exchange}, thin lines",
            )
            for exchange in EXCHANGES
        }

    def transport(self) -> dict[str, Compared]:
        """Bytes per CPU second."""
        variants = ("plain", "tls", "grpc", "grpc-tls")
        size = "64" if self.quick else "1024"
        return {
            "loopback": take_turns(
                {
                    variant: self._program("sockets", "--variant", variant, "--mebibytes", size)
                    for variant in variants
                },
                self.repeat,
                "transport",
            )
        }

    def _overheads(self, setups: Mapping[str, Setup]) -> dict[str, Compared]:
        return {
            name: take_turns(
                {
                    "ra-tls": self._ours(setup, "ra-tls"),
                    "plaintext": self._ours(setup, "PLAINTEXT"),
                },
                self.repeat,
                name,
            )
            for name, setup in setups.items()
        }

    def _ours(self, setup: Setup, transport: Transport) -> Callable[[], Figures]:
        steps = max(16, setup.steps // 10) if self.quick else setup.steps

        def run() -> Figures:
            measured = self.workshop.run(replace(setup, steps=steps), transport)
            return {k: v for k, v in measured.to_dict().items() if isinstance(v, float)}

        return run

    def _peer(self, script: str, setup: Setup, variant: str) -> Callable[[], Figures]:
        steps = max(4, setup.steps // 10) if self.quick else setup.steps
        return self._program(
            script,
            *("--workers", str(setup.workers), "--batch", str(setup.batch)),
            *("--steps", str(steps), "--rows", str(setup.rows), "--variant", variant),
        )

    def _program(self, script: str, *arguments: str) -> Callable[[], Figures]:
        python = os.environ.get(PYTHONS.get(script, ""), sys.executable)

        def run() -> Figures:
            done = subprocess.run(
                [python, "-m", f"benchmarks.peers.{script}", *arguments],
                check=False,
                capture_output=True,
                text=True,
                timeout=_PEER_SECONDS,
            )
            lines = done.stdout.strip().splitlines()
            if done.returncode or not lines:
                raise Unavailable(f"{script} failed: {done.stderr.strip()[-200:]}")
            figures = json.loads(lines[-1])
            if "unavailable" in figures:
                raise Unavailable(figures["unavailable"])
            return {k: float(v) for k, v in figures.items() if isinstance(v, int | float)}

        return run
