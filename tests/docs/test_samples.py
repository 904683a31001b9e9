"""Every Python sample of every page runs, in a process of its own, as a reader would run it."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.system.conftest import SMALL, contract_text

BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Who sets these is the reader's shell, which has none of them; the suite sets some for itself.
SETTINGS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "KERAS_BACKEND", "PYTHONPATH")


def samples(page: Path) -> list[str]:
    return BLOCK.findall(page.read_text(encoding="utf-8"))


PAGES = sorted(
    page
    for page in [*(REPOSITORY / "docs").rglob("*.md"), *REPOSITORY.glob("*.md")]
    if samples(page)
)
LEAVES_FILES = (
    REPOSITORY / "docs" / "python.md"
)  # its first sample makes what other pages go on with


def run(code: str, folder: Path) -> str:
    """What a sample prints; an error has its traceback."""
    kept = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    (folder / "sample.py").write_text(code, encoding="utf-8")
    if "PYTHONPATH" in os.environ:  # where the package is not installed
        kept["PYTHONPATH"] = os.environ["PYTHONPATH"]
    done = subprocess.run(
        [sys.executable, "sample.py"],
        cwd=folder, env=kept, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{code}\n{done.stderr}"
    return done.stdout


def start_files(folder: Path) -> None:
    """The files of a reader's own that the samples name."""
    text = contract_text("hfl")
    nodes = text[: text.index(SMALL.split("\n", 2)[1])]
    trust = text[text.index('[trust]\ntee = "simulated"') :]
    page = LEAVES_FILES.read_text(encoding="utf-8")
    columns = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)[0]
    files = {"hfl.toml": text, "shop.toml": nodes + columns + trust, "nodes.toml": nodes + trust}
    for name, content in files.items():
        (folder / name).write_text(content)
    with (folder / "shop.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["country", "clicked", "age", "visits", "basket", "shop", "device", "campaign", "hour"]
        )
        for i in range(1500):
            writer.writerow(
                ["fr", i % 2, 20 + i % 50, i % 7, f"{i / 8:.2f}", f"s{i % 9}", "tv", "", i % 24]
            )


@pytest.mark.slow
@pytest.mark.system
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_samples_run_as_programs(page: Path, tmp_path: Path) -> None:
    start_files(tmp_path)
    if page != LEAVES_FILES:
        run(samples(LEAVES_FILES)[0], tmp_path)
    said = [run(code, tmp_path) for code in samples(page)]
    if page == LEAVES_FILES:
        assert "cannot be read" in said[-1]
        with (tmp_path / "shop-scores.csv").open() as file:
            assert len(file.readlines()) == 1501


def test_samples_are_found_at_all() -> None:
    assert LEAVES_FILES in PAGES
    assert len(PAGES) >= 3


OWN_MODEL = """
import keras
dense, embedded = keras.Input((13,)), keras.Input((26, 8))
joined = keras.layers.Concatenate()([dense, keras.layers.Flatten()(embedded)])
own = keras.Model([dense, embedded], keras.layers.Dense(1)(joined))
"""
COMPUTES = """
from coterie.errors import EnvironmentUnfit
from coterie.models.backend import configure_tensorflow
try: configure_tensorflow({threads})
except EnvironmentUnfit as refusal: print(refusal.seen)
else: print("computes")
"""


TWO = "\nimport os; os.environ.update(TF_NUM_INTRAOP_THREADS='2')\n"


@pytest.mark.system
@pytest.mark.parametrize(
    ("before", "threads", "said"),
    [
        (f"import coterie{OWN_MODEL}", 1, "computes"),
        (f"import keras, coterie{OWN_MODEL}", 1, "computes"),  # loading is not yet using
        (f"import coterie{OWN_MODEL}", 2, "1 intra-op threads, 1 inter-op threads, CPU"),
        (
            f"{OWN_MODEL}import coterie",
            1,
            "unknown intra-op threads, unknown inter-op threads, CPU",
        ),
        (f"{TWO}import coterie{OWN_MODEL}", 2, "computes"),
        (f"import coterie{OWN_MODEL}{TWO}", 2, "unknown intra-op threads, 1 inter-op threads, CPU"),
    ],
)
def test_a_keras_model_may_be_made_first(
    before: str, threads: int, said: str, tmp_path: Path
) -> None:
    seen = run(before + COMPUTES.format(threads=threads), tmp_path)
    assert seen.strip() == said


@pytest.mark.system
def test_other_programs_of_the_command_line_keep_their_own_threads(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "from coterie import tensorflow_settings as settings\n"
        "print(os.environ[settings.INTRA_OP])\n"
        "settings.withdraw()\n"
        "print(os.environ.get(settings.INTRA_OP), settings.in_force(settings.INTRA_OP))\n"
        "from coterie.cli import main\n"
        "settings.prepare()\n"
        "sys.argv = ['coterie', '--version']\n"
        "try: main.main()\n"
        "except SystemExit: print(os.environ.get(settings.INTRA_OP))\n"
    )
    assert run(code, tmp_path).split() == ["1", "None", "None", "0.1.0", "None"]
