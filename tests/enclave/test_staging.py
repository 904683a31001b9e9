"""Laying out an image: the same bytes at every party, bytecode that is never compiled again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest

from coterie.enclave.contents import belongs, standard
from coterie.enclave.interpreter import SourceFile, interpreter_files, package_files
from coterie.enclave.libraries import system_libraries
from coterie.enclave.staging import image_digest, image_list, stage
from coterie.errors import EnvironmentUnfit

LIBRARY = f"lib/python{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture(scope="module")
def interpreter() -> list[SourceFile]:
    files = list(interpreter_files())
    return [*files, *system_libraries(files)]


@pytest.fixture(scope="module")
def home(interpreter: list[SourceFile], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image of the interpreter alone."""
    home = tmp_path_factory.mktemp("image") / "home"
    stage(interpreter, home)
    return home


def run(home: Path, code: str) -> str:
    """What the image's interpreter prints, with nothing of this machine but the C library."""
    said = subprocess.run(
        [str(home / "bin" / Path(LIBRARY).name), "-I", "-B", "-c", code],
        env={"LD_LIBRARY_PATH": f"{home}/lib:{home}/lib/system"},
        capture_output=True,
        text=True,
        check=True,
    )
    return said.stdout.strip()


@pytest.mark.system
def test_two_parties_lay_out_the_same_bytes(
    interpreter: list[SourceFile], home: Path, tmp_path: Path
) -> None:
    first = stage(interpreter, tmp_path / "a")
    second = stage(interpreter, tmp_path / "somewhere" / "else")
    assert image_list(first) == image_list(second)
    assert image_digest(first) == image_digest(second)


@pytest.mark.system
def test_the_list_is_what_sha256sum_checks(interpreter: list[SourceFile], tmp_path: Path) -> None:
    files = stage(interpreter, tmp_path / "home")
    (tmp_path / "files.sha256").write_bytes(image_list(files))
    check = ["sha256sum", "--check", "--strict", "--quiet", "../files.sha256"]
    subprocess.run(check, cwd=tmp_path / "home", check=True)


@pytest.mark.system
def test_the_interpreter_runs_from_the_image_alone(home: Path) -> None:
    assert run(home, "import ssl, sys; print(sys.prefix)") == str(home)
    assert run(home, "import sys; print(all(p.startswith(sys.prefix) for p in sys.path))") == "True"


@pytest.mark.system
def test_bytecode_is_not_checked_against_its_source(home: Path) -> None:
    (cached,) = (home / LIBRARY / "json" / "__pycache__").glob("__init__.cpython-*.pyc")
    # PEP 552: bit 0 says that it goes by a hash of the source, bit 1 that the hash is checked.
    assert int.from_bytes(cached.read_bytes()[4:8], "little") == 0b01


@pytest.mark.system
def test_bytecode_names_the_path_inside_of_the_enclave_and_not_the_builders(home: Path) -> None:
    (cached,) = (home / LIBRARY / "json" / "__pycache__").glob("__init__.cpython-*.pyc")
    octets = cached.read_bytes()
    assert f"/opt/coterie/{LIBRARY}/json/__init__.py".encode() in octets
    assert str(home).encode() not in octets


@pytest.mark.system
def test_times_are_fixed(home: Path) -> None:
    assert {path.stat().st_mtime for path in home.rglob("*")} == {0}


@pytest.mark.system
def test_what_is_no_part_of_a_running_node_stays_out(home: Path) -> None:
    for name in ("test", "idlelib", "tkinter", "ensurepip", "site-packages", "lib2to3"):
        assert not (home / LIBRARY / name).exists(), name


def test_two_files_in_one_place_are_refused(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"")
    twice = [SourceFile(source, PurePosixPath("bin/x"), executable=True)] * 2
    with pytest.raises(EnvironmentUnfit, match="two files want the same place"):
        stage(twice, tmp_path / "home")


@pytest.mark.system
def test_a_module_that_does_not_compile_is_refused(
    interpreter: list[SourceFile], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("def (")
    files = [*interpreter, SourceFile(broken, PurePosixPath(LIBRARY, "broken.py"))]
    with pytest.raises(EnvironmentUnfit, match="does not compile"):
        stage(files, tmp_path / "home")


@pytest.mark.system
def test_an_existing_folder_is_left_as_it_is(interpreter: list[SourceFile], tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    with pytest.raises(EnvironmentUnfit) as caught:
        stage(interpreter, tmp_path / "home")
    assert caught.value.seen == "File exists"
    assert list((tmp_path / "home").iterdir()) == []


@pytest.mark.parametrize(
    ("path", "inside"),
    [
        ("coterie/ps/service.py", True),
        ("coterie/enclave/starting.py", True),
        ("coterie/plaintext/fabric.py", False),
        ("coterie/cli/main.py", False),
        ("tensorflow/include/a.h", False),
        ("numpy/tests/test_x.py", False),
        ("keras-3.0.dist-info/METADATA", True),
        ("keras-3.0.dist-info/RECORD", False),
        ("../../../bin/keras", False),
        ("distutils-precedence.pth", False),
    ],
)
def test_what_belongs_into_an_image(path: str, inside: bool) -> None:
    assert belongs(PurePosixPath(path)) is inside


def test_what_of_the_standard_library_belongs_into_an_image() -> None:
    assert standard(PurePosixPath("json/decoder.py"))
    assert not standard(PurePosixPath("unittest/test/x.py"))


def lock(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "requirements.lock"
    path.write_text(text)
    return path


def test_a_package_that_the_lock_does_not_pin_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentUnfit) as caught:
        list(package_files(("cbor2",), lock(tmp_path, "cbor2==0.0.1 \\\n    --hash=sha256:00\n")))
    assert caught.value.what == "the installed package cbor2 is not what the lock file pins"
    assert caught.value.expected == "0.0.1"


def test_a_package_that_is_not_installed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentUnfit) as caught:
        list(package_files(("no-such",), lock(tmp_path, "no-such==1 \\\n")))
    assert caught.value.seen == "missing"


def test_an_altered_file_of_a_package_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "thing-1.dist-info"
    info.mkdir()
    (tmp_path / "thing.py").write_text("altered")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: thing\nVersion: 1\n")
    recorded = "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"  # of no bytes
    (info / "RECORD").write_text(f"thing.py,sha256={recorded},0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(EnvironmentUnfit) as caught:
        list(package_files(("thing",), lock(tmp_path, "thing==1 \\\n")))
    assert caught.value.expected == "thing.py as its wheel has it"
