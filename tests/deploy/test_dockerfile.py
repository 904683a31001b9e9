"""The Dockerfile: everything by digest or hash, nothing from the network unchecked, nobody as root."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import pytest
from typer.core import TyperGroup

from coterie.enclave.building import HOST_FOLDERS
from coterie.enclave.gramine import MANIFEST
from tests.deploy.rendering import ROOT
from tests.deploy.telling import command_line

DOCKERFILE = ROOT / "deploy" / "docker" / "Dockerfile"
IGNORE = DOCKERFILE.with_name("Dockerfile.dockerignore")
LOCK = ROOT / "src" / "coterie" / "requirements.lock"
SCRIPTS = Path(sys.executable).parent
BASES = ("PYTHON_IMAGE", "GRAMINE_IMAGE")


@dataclass(frozen=True)
class Instruction:
    """A Dockerfile's instruction, its lines joined."""

    name: str
    value: str


def instructions() -> list[Instruction]:
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = [line for line in re.sub(r"\\\n\s*", " ", text).splitlines() if line.strip()]
    return [Instruction(*line.split(maxsplit=1)) for line in lines]


def stages() -> dict[str, tuple[str, list[Instruction]]]:
    """What each stage is built on, and what it does."""
    found: dict[str, tuple[str, list[Instruction]]] = {}
    current: list[Instruction] = []
    for one in instructions():
        if one.name == "FROM":
            base, _, name = one.value.split()
            current = []
            found[name] = (base, current)
        else:
            current.append(one)
    return found


def runs(stage: str) -> list[str]:
    return [one.value for one in stages()[stage][1] if one.name == "RUN"]


def values(stage: str, name: str) -> list[str]:
    return [one.value for one in stages()[stage][1] if one.name == name]


def commands(stage: str) -> list[list[str]]:
    """The single commands of a stage's RUN instructions."""
    return [shlex.split(command) for run in runs(stage) for command in re.split(r"\s&&\s", run)]


def locked(path: Path = LOCK) -> set[tuple[str, str]]:
    """Name and version of every package in a lock file; some platforms have versions of their own."""
    pattern = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)
    return set(pattern.findall(path.read_text(encoding="utf-8")))


@pytest.mark.system
def test_the_linter_finds_nothing() -> None:
    done = subprocess.run(
        [SCRIPTS / "hadolint", "--failure-threshold", "style", DOCKERFILE],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_the_targets() -> None:
    assert {"node", "gramine"} <= stages().keys()


def test_every_stage_is_built_on_an_argument_or_on_an_earlier_stage() -> None:
    known = [f"${{{name}}}" for name in BASES]
    for name, (base, _) in stages().items():
        assert base in known
        known.append(name)


def test_a_base_image_has_no_default() -> None:
    before = instructions()[: len(BASES)]
    assert before == [Instruction("ARG", name) for name in BASES]
    for _, steps in stages().values():
        assert not [one for one in steps if one.name == "ARG" and "=" in one.value]


@pytest.mark.system
@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize(
    ("image", "accepted"),
    [
        (f"python:3.11@sha256:{'0f' * 32}", True),
        (f"localhost/base@sha256:{'0f' * 32}", True),
        ("python:3.11-slim-bookworm", False),
        ("python", False),
        ("", False),
        (f"python@sha256:{'0f' * 31}", False),
        (f"python@sha256:{'0F' * 32}", False),
        (f"python@sha256:{'0f' * 32}0", False),
        (f"python@sha512:{'0f' * 32}", False),
        (f"python@sha256:{'0f' * 32}\nx", False),
        (f"@sha256:{'0f' * 32}", False),
    ],
)
def test_the_build_stops_at_a_base_image_without_digest(
    base: str, image: str, *, accepted: bool
) -> None:
    (stage,) = (steps for found, steps in stages().values() if found == f"${{{base}}}")
    declared, check, *_ = stage
    assert declared == Instruction("ARG", base)
    assert check.name == "RUN"
    python, option, code, argument = shlex.split(check.value)
    assert (python, option, argument) == ("python3", "-c", f"${base}")
    done = subprocess.run(
        [sys.executable, option, code, image], capture_output=True, text=True, check=False
    )
    assert (done.returncode == 0) is accepted
    assert ("a base image is not pinned: expected NAME@sha256:" in done.stderr) is not accepted


def test_pins_that_are_committed_are_digests() -> None:
    pins = DOCKERFILE.with_name("pins.env")
    if not pins.exists():
        pytest.skip("deploy/docker/pins.env is not there: make pin needs a registry")
    lines = pins.read_text(encoding="utf-8").splitlines()
    assert [line.partition("=")[0] for line in lines] == list(BASES)
    assert all(re.fullmatch(r"[A-Z_]+=\S+@sha256:[0-9a-f]{64}", line) for line in lines)


def test_nothing_comes_from_the_network_but_what_pip_checks() -> None:
    for name, (_, steps) in stages().items():
        assert not [one for one in steps if one.name == "ADD"]
        for command in commands(name):
            program = Path(command[0]).name
            assert program not in {"curl", "wget", "git", "apt-get", "apt", "apk", "npm", "docker"}
            if program == "pip":
                assert command[1] == "install"
                assert "--require-hashes" in command or {"--no-index", "--no-deps"} <= set(command)
                assert "--only-binary" in command or "--no-index" in command


def test_the_packages_are_those_of_the_lock_files() -> None:
    installs = [c for name in stages() for c in commands(name) if "--require-hashes" in c]
    files = [command[command.index("-r") + 1] for command in installs]
    assert files == ["src/coterie/requirements.lock", "requirements/sbom.lock"]
    for file in files:
        text = (ROOT / file).read_text(encoding="utf-8")
        assert len(locked(ROOT / file)) == len(re.findall(r"^\S+==", text, re.MULTILINE)) > 0
        assert text.count("--hash=sha256:") >= len(locked(ROOT / file))


@pytest.mark.parametrize("stage", ["node", "gramine"])
def test_the_image_runs_as_nobody_special_and_takes_sigterm(stage: str) -> None:
    assert values(stage, "USER") == ["10001:10001"]
    assert values(stage, "STOPSIGNAL") == ["SIGTERM"]
    (entry,) = values(stage, "ENTRYPOINT")
    assert isinstance(json.loads(entry), list)  # no shell in between that keeps signals to itself
    after = stages()[stage][1]
    users = [number for number, one in enumerate(after) if one.name == "USER"]
    assert not [one for one in after[users[-1] :] if one.name in {"RUN", "COPY"}]


def test_no_secret_is_in_the_environment_or_in_a_layer() -> None:
    for name, (_, steps) in stages().items():
        for one in steps:
            assert not (
                one.name in {"ENV", "ARG"} and re.search("KEY|SECRET|TOKEN|PASS", one.value)
            )
        for run in runs(name):
            if "/run/secrets/" in run:
                assert run.startswith("--mount=type=secret,id=enclave-key,required=true")


def test_the_enclave_image_takes_no_arguments() -> None:
    assert values("gramine", "ENTRYPOINT") == ['["gramine-sgx", "coterie"]']
    assert values("gramine", "CMD") == []
    assert values("gramine", "ENV") == []
    assert values("gramine", "WORKDIR") == ["/enclave"]
    assert MANIFEST == "coterie.manifest"


def test_the_enclave_is_built_by_a_command_that_exists() -> None:
    program = "/opt/coterie/bin/coterie"
    (build,) = (command for command in commands("enclave") if program in command)
    group, verb, *arguments = build[build.index(program) + 1 :]
    command = command_line().commands[group]
    assert isinstance(command, TyperGroup)
    known = {option for one in command.commands[verb].params for option in one.opts}
    assert {one for one in arguments if one.startswith("--")} == {
        *("--out", "--image", "--contract", "--key"),
    }
    assert {one for one in arguments if one.startswith("--")} <= known


def test_what_an_enclave_keeps_and_reads_lies_where_its_manifest_says() -> None:
    made = shlex.split(runs("gramine")[0])
    folders = {path.removeprefix("/enclave/") for path in made if path.startswith("/enclave/")}
    assert folders == {"out", "memory"}
    assert folders | {"inputs", "data"} == set(HOST_FOLDERS)


def test_what_is_copied_is_there_and_reaches_the_builder() -> None:
    lines = [
        line
        for line in IGNORE.read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    assert lines[0] == "*"
    allowed = [line.removeprefix("!") for line in lines if line.startswith("!")]
    for name in stages():
        for value in values(name, "COPY"):
            if value.startswith(("--from=", "${CONTRACT}")):
                continue
            for source in value.split()[:-1]:
                assert (ROOT / source).exists()
                assert any(fnmatch(source, p) or source.startswith(f"{p}/") for p in allowed)


@pytest.mark.system
def test_the_package_installs_from_what_its_stage_copies(tmp_path: Path) -> None:
    for value in values("installed", "COPY"):
        *sources, target = value.split()
        for source in sources:
            to = tmp_path / target / ("" if source == target else source)
            to.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / source).is_dir():
                ignored = shutil.ignore_patterns("__pycache__", "*.so")
                shutil.copytree(ROOT / source, to, dirs_exist_ok=True, ignore=ignored)
            else:
                shutil.copy(ROOT / source, to)
    (install,) = (one for one in commands("installed") if "--no-index" in one)
    done = subprocess.run(
        [sys.executable, "-m", "pip", *install[1:], "--target", tmp_path / "installed"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "installed" / "coterie" / "requirements.lock").is_file()


@pytest.mark.system
def test_the_list_of_what_is_in_the_image_names_every_locked_package(tmp_path: Path) -> None:
    (command,) = (c for c in commands("sbom") if Path(c[0]).name == "cyclonedx-py")
    out = tmp_path / "sbom.json"
    replaced = {
        "requirements.lock": str(LOCK),
        "pyproject.toml": str(ROOT / "pyproject.toml"),
        "/coterie.cdx.json": str(out),
    }
    done = subprocess.run(
        [SCRIPTS / "cyclonedx-py", *(replaced.get(part, part) for part in command[1:])],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    text = out.read_text(encoding="utf-8")
    from cyclonedx.schema import SchemaVersion  # takes a second to load
    from cyclonedx.validation.json import JsonStrictValidator

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bill = json.loads(text)
    assert bill["metadata"]["component"]["name"] == "coterie"
    found = {(one["name"], one["version"]) for one in bill["components"]}
    assert found == locked()
    for one in bill["components"]:
        assert one["purl"] == f"pkg:pypi/{one['name'].lower().replace('_', '-')}@{one['version']}"
        assert [h for r in one["externalReferences"] for h in r.get("hashes", [])]
