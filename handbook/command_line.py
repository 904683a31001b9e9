"""The reference of the command line, from the command tree."""

from __future__ import annotations

from handbook.commands import Parameter, Verb, groups, verbs

# What all verbs have is said once, at the page's head.
_COMMON = {"--verbose", "--log-format"}


def reference() -> str:
    """Every verb with its parameters and an example, as Markdown."""
    parts = []
    seen: set[str] = set()
    for verb in verbs():
        group = " ".join(verb.words[:-1])
        if group in groups() and group not in seen:
            seen.add(group)
            parts.append(f"## `{group}`\n\n{groups()[group]}\n")
        parts.append(_verb(verb, "###" if group in groups() else "##"))
    return "\n".join(parts)


def _verb(verb: Verb, level: str) -> str:
    text = [
        f"{level} `{verb.name}`\n",
        verb.summary + "\n",
        *(f"{one}\n" for one in verb.paragraphs),
    ]
    text.append(f"```bash\n{verb.example}\n```\n")
    text.append("| Parameter | Takes | Default | Meaning |\n|---|---|---|---|")
    text += [_row(one) for one in verb.parameters if not _COMMON & set(one.spellings)]
    return "\n".join(text) + "\n"


def _row(one: Parameter) -> str:
    spellings = (*one.spellings, one.opposite) if one.opposite else one.spellings
    names = ", ".join(f"`{spelling}`" for spelling in spellings)
    takes = f"`{one.kind.strip('<>').replace('|', ', ')}`" if one.kind and one.is_option else ""
    if one.repeatable:
        takes = f"{takes} (repeatable)".strip()
    default = "required" if one.required else f"`{one.default}`" if one.default else ""
    return f"| {names} | {takes} | {default} | {_cell(one.help)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
