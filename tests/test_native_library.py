"""A native library is built from its sources, again when they change, and never loaded without them."""

from __future__ import annotations

import ctypes
import dataclasses
from pathlib import Path

import pytest

from coterie.errors import EnvironmentUnfit
from coterie.native_library import NativeLibrary

SOURCE = """#include "answer.h"
#define EXPORTED __attribute__((visibility("default")))
EXPORTED const char *coterie_source_digest(void) { return SOURCE_DIGEST; }
EXPORTED int answer(void) { return ANSWER; }
int hidden(void) { return 1; }
"""


@pytest.fixture
def library(tmp_path: Path) -> NativeLibrary:
    (tmp_path / "code").mkdir()
    (tmp_path / "shared").mkdir()
    source, header = tmp_path / "code" / "answer.c", tmp_path / "shared" / "answer.h"
    source.write_text(SOURCE)
    header.write_text("#define ANSWER 42\n")
    return NativeLibrary(
        title="the library of a test",
        path=tmp_path / "code" / "libanswer.so",
        sources=(source,),
        headers=(header,),
        without="everything else works without",
        build_command="coterie test build",
    )


def built(library: NativeLibrary) -> NativeLibrary:
    try:
        library.build()
    except EnvironmentUnfit as error:
        if error.expected != "a C compiler":
            raise
        pytest.skip(str(error))
    return library


@pytest.mark.system
def test_it_exports_what_its_source_names_and_nothing_else(library: NativeLibrary) -> None:
    loaded = built(library).load()
    assert loaded.answer() == 42
    assert not hasattr(loaded, "hidden")
    assert {file.name for file in library.path.parent.iterdir()} == {"answer.c", "libanswer.so"}


@pytest.mark.system
def test_it_is_built_again_when_a_file_or_a_flag_changes_and_only_then(
    library: NativeLibrary,
) -> None:
    first = built(library).path.stat().st_ino
    assert library.build().stat().st_ino == first
    library.headers[0].write_text("#define ANSWER 43\n")
    assert library.build().stat().st_ino != first
    assert library.load().answer() == 43
    other = dataclasses.replace(library, flags=("-DUNUSED",))
    assert other.source_digest != library.source_digest


@pytest.mark.system
def test_a_library_of_other_sources_is_not_loaded(library: NativeLibrary) -> None:
    built(library).headers[0].write_text("#define ANSWER 44\n")
    with pytest.raises(EnvironmentUnfit, match="built from other sources") as refused:
        library.load()
    assert refused.value.remedy == "run `coterie test build`"


def test_a_missing_library_is_named(library: NativeLibrary) -> None:
    with pytest.raises(
        EnvironmentUnfit, match="there is no file with the library of a test"
    ) as refused:
        library.load()
    assert refused.value.expected == str(library.path)
    assert "gcc" in refused.value.remedy


def test_a_missing_compiler_is_named(
    library: NativeLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentUnfit) as refused:
        library.build()
    assert refused.value.expected == "a C compiler"
    assert refused.value.remedy.endswith("everything else works without")


@pytest.mark.system
def test_a_source_that_does_not_compile_leaves_nothing(library: NativeLibrary) -> None:
    before = built(library).path.read_bytes()
    library.sources[0].write_text("int broken(void) { return }\n")
    with pytest.raises(EnvironmentUnfit) as refused:
        library.build()
    assert "broken" in refused.value.seen or "error" in refused.value.seen
    assert library.path.read_bytes() == before
    assert len(list(library.path.parent.iterdir())) == 2


@pytest.mark.system
def test_the_compiler_of_a_library_needs_only_what_that_library_needs(
    library: NativeLibrary,
) -> None:
    built(library)
    picky = dataclasses.replace(library, probe="#include <nowhere.h>\n", probe_needs="nowhere.h")
    assert library.compiler()
    with pytest.raises(EnvironmentUnfit) as refused:
        picky.compiler()
    assert refused.value.expected == "nowhere.h"


@pytest.mark.system
def test_the_digest_is_a_string_that_the_library_holds(library: NativeLibrary) -> None:
    loaded = built(library).load()
    loaded.coterie_source_digest.restype = ctypes.c_char_p
    assert loaded.coterie_source_digest().decode() == library.source_digest
