"""A contract's terms in plain words, and the changes between two contracts, most dangerous first.

Parties compare contracts before they sign. A digest only shows that something differs. This module
shows what differs, in order of importance: accepted evidence, what leaves the TEEs and to whom,
training, data, and last bounds and names. A section without an assigned group counts as trust, so
it is shown first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from inspect import getdoc
from typing import Literal

from coterie.canonical import canonical
from coterie.contract.digest import label_of
from coterie.contract.schema import Contract
from coterie.contract.section import Section
from coterie.kinds import SIMULATED

Group = Literal["trust", "release", "training", "data", "limits"]
Effect = Literal["looser", "tighter", "other"]
RECIPIENTS = "results (recipients)"
GROUPS: tuple[Group, ...] = ("trust", "release", "training", "data", "limits")

_GROUPS: dict[str, Group] = {
    "results": "release",
    "training": "training",
    "start": "training",
    "model": "training",
    "data": "data",
    "limits": "limits",
    "name": "limits",
    "format": "limits",
}
# Smallest numbers of examples and parties behind what leaves a TEE.
_RELEASE = {"training.batch", "limits.evaluation_minimum", "limits.quorum"}
# The influence of one party on the model.
_TRUST = {"training.update_norm", "training.party_weight"}
_SEVERAL = re.compile('[,="]')  # what stands between members where people read them
_OTHER_THAN_TEXT = re.compile("yes|no|none|not set|-?[0-9]{1,9}")
_EFFECTS: tuple[Effect, ...] = ("looser", "other", "tighter")


@dataclass(frozen=True)
class Term:
    """One value that a contract fixes.

    Attributes:
        key: Its key, such as ``trust.roles.ps.fmspc`` or ``parties[acme].key``.
        value: Its value as in JSON; defaults are filled in.
        meaning: The key's purpose in one sentence, from its section's docstring.
        default: Whether the value is the default.
    """

    key: str
    value: object
    meaning: str
    default: bool

    @property
    def group(self) -> Group:
        """The group of its key."""
        return group_of(self.key)

    @property
    def words(self) -> str:
        """The value for people."""
        return words_of(self.value)


@dataclass(frozen=True)
class Change:
    """A key with different values in two contracts.

    Attributes:
        key: The key.
        old: Value before; None if there was none.
        new: Value after; None if there is none.
        what: The change in words.
        effect: ``looser``: more is accepted, released or possible than before; ``tighter``: less;
            ``other``: neither, or both.
        meaning: The key's purpose.
    """

    key: str
    old: object
    new: object
    what: str
    effect: Effect
    meaning: str

    @property
    def group(self) -> Group:
        """The group of its key."""
        return group_of(self.key)


def terms_of(contract: Contract) -> tuple[Term, ...]:
    """All terms of a contract, and its nodes' addresses, which are only hints."""
    named = contract.results.model_parties is None
    recipients = list(dict.fromkeys(node.party for node in contract.model_recipients()))
    meaning = "Parties that get the trained model, whether named or as owners of data"
    return (*_walk(contract, ""), Term(RECIPIENTS, recipients, meaning, default=named))


def group_of(key: str) -> Group:
    """The group of a key."""
    if key.endswith("].address"):
        return "limits"  # addresses are hints outside of the digest
    if key in _TRUST:
        return "trust"
    if key in _RELEASE:
        return "release"
    return _GROUPS.get(re.split(r"[.\[ ]", key, maxsplit=1)[0], "trust")


def changes_between(old: Contract, new: Contract) -> tuple[Change, ...]:
    """The changes by group; in each group, looser ones first."""
    before, after = ({term.key: term for term in terms_of(one)} for one in (old, new))
    found = [
        _change(key, before.get(key), after.get(key))
        for key in dict.fromkeys((*before, *after))
        if key not in before or key not in after or not _same(before[key].value, after[key].value)
    ]
    listed = {*before, *after}  # a list that was empty has entries in the other contract
    entries = {change.key for change in found if change.key.endswith("]")}
    # An added or removed party, node or token gets one line.
    found = [
        change
        for change in found
        if not any(change.key.startswith(f"{entry}.") for entry in entries)
        and not (change.key.endswith(" (order)") and _members(change.old) != _members(change.new))
        and f"{change.key} (order)" not in listed
    ]
    return tuple(sorted(found, key=_danger))


def _danger(change: Change) -> tuple[int, int, bool]:
    """The sort key: group, effect, and within trust, evidence and parties before sizes."""
    first = change.key.startswith(("trust.", "parties", "nodes", "mode"))
    return GROUPS.index(change.group), _EFFECTS.index(change.effect), not first


def _members(names: object) -> set[str]:
    return {str(name) for name in names} if isinstance(names, list) else set()


def _same(one: object, other: object) -> bool:
    """Whether two values are the same in JSON: to Python, true is 1."""
    return canonical(one) == canonical(other)


def _without(items: list[object], others: list[object]) -> list[object]:
    return [item for item in items if not any(_same(item, other) for other in others)]


def words_of(value: object) -> str:
    """A value for people."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(_item_words(item) for item in value) or "none"
    if isinstance(value, dict):
        pairs = (f"{_key_words(key)}={words_of(item)}" for key, item in value.items())
        return ", ".join(pairs) or "none"
    return str(value)


def _key_words(key: str) -> str:
    """A key: in quotes if it could pass for several, or for a value too."""
    return json.dumps(key, ensure_ascii=False) if _SEVERAL.search(key) else key


def _item_words(item: object) -> str:
    """A member of a list: in quotes if it could pass for several, or for something else than text."""
    if isinstance(item, str) and (_SEVERAL.search(item) or _OTHER_THAN_TEXT.fullmatch(item)):
        return json.dumps(item, ensure_ascii=False)
    return words_of(item)


def _walk(section: Section, path: str) -> Iterator[Term]:
    meanings = _meanings(type(section))
    for name, plain in section.model_dump(mode="json").items():
        item, key = getattr(section, name), f"{path}{name}"
        field = type(section).model_fields[name]
        if isinstance(item, Section):
            yield from _walk(item, f"{key}.")
        elif isinstance(item, tuple) and item and all(isinstance(one, Section) for one in item):
            names = [label_of(one.model_dump(), i) for i, one in enumerate(item)]
            yield Term(f"{key} (order)", names, meanings[name], default=False)
            for one, label in zip(item, names, strict=True):
                yield Term(f"{key}[{label}]", str(label), meanings[name], default=False)
                yield from _walk(one, f"{key}[{label}].")
        else:
            same = not field.is_required() and item == field.default
            yield Term(key, plain, meanings.get(name, ""), default=same)


def _meanings(section: type[Section]) -> dict[str, str]:
    """The first sentence of each key's description in a section's docstring."""
    _, _, text = (getdoc(section) or "").partition("Attributes:\n")
    joined = re.sub(r"\n {5,}", " ", text)
    found = re.findall(r"^ {4}([a-z_0-9]+): (.*)$", joined, flags=re.MULTILINE)
    return {name: re.split(r"[.;](?: |$)", line)[0].replace("``", "") for name, line in found}


def _change(key: str, before: Term | None, after: Term | None) -> Change:
    term = after or before
    assert term is not None
    old, new = (None if one is None else one.value for one in (before, after))
    if key.endswith("]"):
        # A further party or node can do more; a further token is one more demand.
        more: Effect = "tighter" if ".tokens[" in key else "looser"
        less: Effect = "looser" if more == "tighter" else "tighter"
        what, effect = ("is new", more) if before is None else ("is gone", less)
        return Change(key, old, new, what, effect, term.meaning)
    return Change(key, old, new, _what(old, new), _effect(key, old, new), term.meaning)


def _what(old: object, new: object) -> str:
    if isinstance(old, list) and isinstance(new, list) and old and new:
        came, went = _without(new, old), _without(old, new)
        parts = [f"also {words_of(came)}"] if came else []
        parts += [f"no longer {words_of(went)}"] if went else []
        if parts:
            return "; ".join(parts)
    return f"{words_of(old)} -> {words_of(new)}"


_Rule = Callable[[object, object], Effect]


def _effect(key: str, old: object, new: object) -> Effect:
    by_name = key.startswith(("trust.roles.", "parties["))
    rule = _RULES.get(key.rpartition(".")[2] if by_name else key)
    return "other" if rule is None else rule(old, new)


def _more_is(more: Effect, *, unset: Effect) -> _Rule:
    """The effect of a change of a number or sortable text, also to or from no value."""
    less: Effect = "tighter" if more == "looser" else "looser"
    back: Effect = "tighter" if unset == "looser" else "looser"

    def rule(old: object, new: object) -> Effect:
        if new is None:
            return unset
        if old is None:
            return back
        if isinstance(old, str) and isinstance(new, str):
            return more if new > old else less
        if isinstance(old, int | float) and isinstance(new, int | float):
            return more if new > old else less
        return "other"

    return rule


def _list(longer: Effect, *, empty: Effect) -> _Rule:
    """The effect of a change of a list, also to or from an empty one."""
    shorter: Effect = "tighter" if longer == "looser" else "looser"
    back: Effect = "tighter" if empty == "looser" else "looser"

    def rule(old: object, new: object) -> Effect:
        before = old if isinstance(old, list) else []
        after = new if isinstance(new, list) else []
        if not after and not before:
            return "other"
        if not after or not before:
            return empty if not after else back
        came, went = _without(after, before), _without(before, after)
        # An entry was replaced: the new entry allows something that was not allowed before.
        return longer if came and longer == "looser" else shorter if went else longer

    return rule


def _kind_or_floor(old: object, new: object) -> Effect:
    """The effect of a change of a role's ``tee``, or of the floor of the part of that name."""
    if isinstance(old, str) or isinstance(new, str):
        return "looser" if new in SIMULATED else "other"
    return _more_is("tighter", unset="tighter")(old, new)


def _version_rule(old: object, new: object) -> Effect:
    """The effect of a change of a version such as ``1.55.22``, which is compared by its numbers."""
    before, after = (
        [int(part) for part in value.split(".")] if isinstance(value, str) else []
        for value in (old, new)
    )
    return "tighter" if after > before else "looser"


def _lists_rule(old: object, new: object) -> Effect:
    """The effect of a change of named lists, of PCRs or claims: one without a list is not compared."""
    before, after = (value if isinstance(value, dict) else {} for value in (old, new))
    effects = {
        _DEMANDS(before.get(number), after.get(number))
        for number in {*before, *after}
        if not _same(before.get(number), after.get(number))
    }
    return "looser" if "looser" in effects else "tighter"


_ACCEPTS = _list("looser", empty="tighter")
# An empty list means that the register is not checked.
_DEMANDS = _list("looser", empty="looser")
_ON_IS_TIGHTER = _more_is("tighter", unset="looser")
_RULES: dict[str, _Rule] = {
    "accepted_tcb_statuses": _ACCEPTS,
    "accepted_advisories": _ACCEPTS,
    # With an entry, this list replaces the list of accepted ones and accepts all others.
    "refused_advisories": _list("tighter", empty="tighter"),
    **dict.fromkeys(
        (
            *("mrenclave", "mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "td_attributes", "xfam"),
            *("fmspc", "ppid"),
        ),
        _DEMANDS,
    ),
    **dict.fromkeys(("launch_measurement", "guest_policy", "vmpl", "signing_key"), _ACCEPTS),
    "csp_id": _ACCEPTS,
    **dict.fromkeys(
        ("family_id", "image_id", "id_key_digest", "author_key_digest", "host_data", "chip_id"),
        _DEMANDS,
    ),
    "pcrs": _lists_rule,
    # Demands beside evidence: without a section or table, nothing is demanded.
    **dict.fromkeys(("roots", "ram_gib", "vcpus", "changelists", "commits"), _DEMANDS),
    **dict.fromkeys(("issued_from", "minimum_svn"), _more_is("tighter", unset="looser")),
    **dict.fromkeys(("keys", "algorithms"), _ACCEPTS),
    "claims": _lists_rule,
    **dict.fromkeys(("secure_boot", "console"), _DEMANDS),
    "required_platform": _list("tighter", empty="looser"),
    "minimum_guest_svn": _more_is("tighter", unset="looser"),
    "minimum_firmware": _version_rule,
    # A floor makes its product line accepted.
    **dict.fromkeys(
        ("bootloader", "snp", "microcode", "fmc"), _more_is("tighter", unset="tighter")
    ),
    "tee": _kind_or_floor,
    "minimum_isv_svn": _more_is("tighter", unset="looser"),
    "minimum_tcb_evaluation_number": _more_is("tighter", unset="looser"),
    "out_of_date_grace_days": _more_is("looser", unset="looser"),
    **dict.fromkeys(
        ("refuse_smt", "refuse_dynamic_platform", "refuse_cached_keys"), _ON_IS_TIGHTER
    ),
    "next_key": _more_is("looser", unset="tighter"),
    "key_not_after": _more_is("looser", unset="looser"),
    "trust.not_after": _more_is("looser", unset="looser"),
    "trust.tee": lambda _, new: "looser" if new in SIMULATED else "other",
    "tensorflow.operations": _ACCEPTS,
    "trust.demand_signatures": _ON_IS_TIGHTER,
    "trust.seal_checkpoints": _ON_IS_TIGHTER,
    "trust.certificate_minutes": _more_is("looser", unset="looser"),
    "trust.reattestation_minutes": _more_is("looser", unset="looser"),
    "training.update_norm": _more_is("looser", unset="looser"),
    "training.party_weight": _more_is("looser", unset="looser"),
    "training.batch": _more_is("tighter", unset="looser"),
    "limits.evaluation_minimum": _more_is("tighter", unset="looser"),
    # Without a quorum, every step waits for all workers.
    "limits.quorum": _more_is("tighter", unset="tighter"),
    "results.optimizer_state": _more_is("looser", unset="tighter"),
    "results.traces": _more_is("looser", unset="tighter"),
    RECIPIENTS: _ACCEPTS,
}
