"""Reads a Compose file as Compose does: YAML with merge keys, then variables put in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import yaml

from tests.deploy.rendering import ROOT, Mode, Object, TeeName

FOLDER = ROOT / "deploy" / "docker"
DIGEST = "e5" * 32

#: What a user sets; the message behind :? says what it is, where it is missing.
ENVIRONMENT: Mapping[str, str] = {
    "COTERIE_IMAGE": f"registry.example/coterie@sha256:{DIGEST}",
    "COTERIE_PS_IMAGE": f"registry.example/coterie-ps@sha256:{DIGEST}",
    "COTERIE_WORKER_IMAGE": f"registry.example/coterie-worker@sha256:{DIGEST}",
    "COTERIE_KEYS_IMAGE": f"registry.example/coterie@sha256:{DIGEST}",
    "COTERIE_RUN": "/srv/run",
    "SGX_GID": "106",
    "PCCS_URL": "https://pccs.example:8081",
}
_VARIABLE = re.compile(r"\$\{([A-Z_]+)(?::\?([^}]*))?\}")


def compose_file(mode: Mode, tee: TeeName) -> Path:
    """The Compose file of an experiment."""
    return FOLDER / f"paper-{mode}.{tee}.yaml"


def required_variables(text: str) -> dict[str, str]:
    """Every variable of a file, with what is said where it is missing; empty if nothing ever is."""
    found: dict[str, str] = {}
    for name, message in _VARIABLE.findall(text):
        found[name] = found.get(name) or message
    return found


def load_compose(mode: Mode, tee: TeeName) -> Object:
    """The file's content, with the user's variables in it."""
    text = compose_file(mode, tee).read_text(encoding="utf-8")
    text = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    filled = _VARIABLE.sub(lambda match: ENVIRONMENT[match[1]], text)
    assert "$" not in filled
    content: Object = yaml.safe_load(filled)
    return content
