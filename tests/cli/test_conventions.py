"""What every verb has in common. A verb that is added has it too, or fails here."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.text import Text

from coterie import cli
from coterie.cli.lazy import Entry
from coterie.cli.main import application, make_application
from coterie.errors import CoterieError
from handbook.commands import Verb, groups, misuse, root, verbs
from tests.cli.conftest import Run

VERBS = verbs()
# Verbs that print a log, or what a program says, until they end, and no result.
LOGGING = {"coterie node", "coterie keyserver", "coterie tensorflow run", "coterie tensorflow node"}
# One letter says the same everywhere.
LETTERS = {"-v": "--verbose", "-y": "--yes"}
ERROR_KEYS = {"error", "what", "expected", "seen", "remedy"}

every_verb = pytest.mark.parametrize("verb", VERBS, ids=str)


def test_the_tree_is_found_at_all() -> None:
    assert len(VERBS) >= 17
    assert {"coterie init", "coterie contract sign", "coterie attest verify"} <= {
        verb.name for verb in VERBS
    }


@every_verb
def test_names_are_lower_case_words(verb: Verb) -> None:
    for word in verb.words:
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", word)


@every_verb
def test_the_first_sentence_says_what_it_does(verb: Verb) -> None:
    assert re.fullmatch(r"[A-Z].*[.]", verb.summary), verb.summary
    assert len(verb.summary) <= 120


@every_verb
def test_there_is_an_example_that_the_parser_takes(verb: Verb) -> None:
    assert verb.example.startswith(f"{verb.name} ") or verb.example == verb.name
    assert misuse(verb.example) is None


@every_verb
def test_a_result_can_be_had_as_json(verb: Verb) -> None:
    option = verb.option("--json")
    if verb.name in LOGGING:
        assert option is None
        return
    assert option is not None
    assert option.help == "Print one JSON object."


@every_verb
def test_the_log_is_chosen_alike(verb: Verb) -> None:
    verbose, form = verb.option("-v"), verb.option("--log-format")
    assert verbose is not None
    assert verbose.spellings == ("--verbose", "-v")
    assert form is not None
    assert form.kind == "<text|json>"


@every_verb
def test_every_parameter_is_explained(verb: Verb) -> None:
    for one in verb.parameters:
        assert one.help, one.spellings
        assert one.help.endswith((".", ")")), one.help


@every_verb
def test_options_are_hyphenated_words_and_letters_are_rare(verb: Verb) -> None:
    for one in verb.parameters:
        if one.is_option:
            long, *letters = one.spellings
            assert re.fullmatch(r"--[a-z]+(-[a-z]+)*", long)
            assert all(LETTERS.get(letter) == long for letter in letters), one.spellings
        else:
            assert re.fullmatch(r"\[?[A-Z][A-Z:=_]*\]?(\.\.\.)?", one.spellings[0]), one.spellings


@pytest.mark.parametrize(
    "name", ["coterie paper", "coterie tensorflow run", "coterie tensorflow node"]
)
def test_values_have_names_and_not_only_types(name: str) -> None:
    (verb,) = [one for one in VERBS if one.name == name]
    for one in verb.parameters:
        if one.is_option and one.kind:
            assert re.fullmatch(r"[A-Z]+([=:][A-Z]+)*|<[a-z]+(\|[a-z]+)+>", one.kind), one


def test_an_option_of_one_name_is_of_one_kind() -> None:
    """Where two verbs have the option, both want a switch or both want a value."""
    kinds: dict[str, dict[bool, list[str]]] = defaultdict(lambda: defaultdict(list))
    for verb in VERBS:
        for one in verb.parameters:
            if one.is_option:
                kinds[one.spellings[0]][bool(one.kind)].append(verb.name)
    assert {name: dict(both) for name, both in kinds.items() if len(both) > 1} == {}


def test_help_loses_nothing_to_markup() -> None:
    """Brackets in a help text are rich's markup unless they are escaped."""

    def lost(text: str | None) -> bool:
        return bool(re.search(r"(?<!\\)\[/?[a-z]", text or ""))

    assert lost("the [trust] section")
    assert Text.from_markup("the [trust] section").plain == "the  section"
    found = [words for words, text in groups().items() if lost(text)]

    def walk(words: str, command: object) -> None:
        for name, child in getattr(command, "commands", {}).items():
            walk(f"{words} {name}", child)
        texts = [getattr(command, "help", None)]
        texts += [getattr(one, "help", None) for one in getattr(command, "params", [])]
        if any(lost(text) for text in texts):
            found.append(words)

    walk("coterie", root())
    assert found == []


@every_verb
def test_wrong_usage_is_an_error_of_the_one_shape(verb: Verb, run: Run) -> None:
    ran = run(*verb.words[1:], "--no-such-option")
    assert ran.code == 2
    assert ran.out == ""
    labels = re.findall(r"^ *([a-z]+):", ran.err, flags=re.MULTILINE)
    assert labels == ["error", "expected", "seen", "remedy"]
    assert "--no-such-option" in ran.err
    assert f"{verb.name} --help" in ran.err


@every_verb
def test_wrong_usage_is_one_json_object_where_results_are(verb: Verb, run: Run) -> None:
    ran = run(*verb.words[1:], "--no-such-option", "--json")
    assert ran.code == 2
    assert ran.err == ""
    assert ran.value.keys() == ERROR_KEYS
    assert all(ran.value.values())
    assert ran.value["error"] == "UsageError"


@every_verb
def test_help_is_shown(verb: Verb, run: Run) -> None:
    ran = run(*verb.words[1:], "--help")
    assert ran.code == 0
    assert "Example: " in ran.out
    assert ran.err == ""


@pytest.mark.parametrize("words", [(), *(name.split()[1:] for name in groups())])
def test_a_group_without_a_verb_shows_its_help(words: tuple[str, ...], run: Run) -> None:
    ran = run(*words)
    assert ran.code == 2
    assert ("Commands" if words else "Start here") in ran.out


def test_exit_codes_are_in_the_help(run: Run) -> None:
    text = " ".join(run("--help").out.split())

    def tree(kind: type[CoterieError]) -> set[int]:
        return {kind.exit_code, *(code for child in kind.__subclasses__() for code in tree(child))}

    listed = text.partition("Exit codes: ")[2].partition(".")[0]
    assert {int(part.split()[0]) for part in listed.split(",")} == tree(CoterieError) | {
        0,
        130,
        143,
    }


def test_the_application_is_made_once() -> None:
    assert application() is application()


def test_help_lists_each_verb_with_the_sentence_that_its_own_help_begins_with() -> None:
    """The list is a table, so that showing it imports no verb."""
    listed = {
        entry.name: entry.short_help
        for entry in make_application().commands.values()
        if isinstance(entry, Entry)
    }
    said = {verb.words[1]: verb.summary for verb in VERBS if len(verb.words) == 2}
    said |= {name.split()[1]: text for name, text in groups().items()}
    assert listed == said


AUDIT = """
import sys
from coterie.cli.main import invoke
for words in {words!r}:
    assert invoke([*words, "--help"]) == 0, words
sys.stderr.write(" ".join(sorted({heavy!r} & set(sys.modules))))
"""
# What costs a tenth of a second or more to import: nobody who asks for help waits for it.
HEAVY = {
    *("tensorflow", "keras", "grpc", "polars", "matplotlib", "h5py"),
    *("numpy", "cryptography", "google.protobuf", "dcap_qvl"),  # pydantic is typer's own
}


@pytest.mark.system
def test_help_of_all_verbs_loads_nothing_heavy() -> None:
    words = [[], *(list(verb.words[1:]) for verb in VERBS)]
    done = subprocess.run(
        [sys.executable, "-c", AUDIT.format(words=words, heavy=HEAVY)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env={**os.environ, "TERM": "dumb"},
    )
    assert done.stderr == ""
    assert done.stdout.count("Usage:") == len(words)


def declarations() -> Iterator[tuple[str, str]]:
    """Every option and argument of the command line as it is declared, and where."""
    for path in sorted(Path(cli.__file__).parent.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Subscript):
                text = ast.unparse(node)
                if text.startswith("Annotated[") and "typer." in text:
                    yield text, f"{path.name}:{node.lineno}"


def test_an_option_of_several_verbs_is_declared_once() -> None:
    places: dict[str, list[str]] = {}
    for text, place in declarations():
        places.setdefault(text, []).append(place)
    assert len(places) > 100
    assert {text: where for text, where in places.items() if len(where) > 1} == {}
