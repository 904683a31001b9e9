"""The small contracts and data sets that the campaign's runs train on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from coterie.contract import Contract, parse_contract
from coterie.contract.signatures import generate_party_key, public_key_text
from coterie.data.prepare.preparation import prepare
from coterie.data.prepare.synthetic import synthesize
from faults.plan import SCHEMES, Scheme

_PARTIES = {"hfl": ("operator", "acme", "bolt"), "sdt": ("owner",)}
_COMMON = """
[data]
rows = 64
[model]
embedding_dim = 4
bottom = [8, 4]
top = [8, 1]
[training]
epochs = {epochs}
seed = 3
checkpoint_steps = {checkpoint_steps}
{exchange}
{optimizers}
[training.validation]
every_steps = 20
keep = "best"
patience = 4
[limits]
join_seconds = {patience}
step_seconds = {patience}
[trust]
tee = "simulated"
"""
_GRADIENTS = """batch = 32
[training.dense]
kind = "adam"
learning_rate = 0.01
[training.rows]
kind = "rowwise_adagrad"
learning_rate = 0.05"""
# As many examples per step, each worker with optimizers of its own: federated runs on two shards.
_LOCAL = """batch = 8
local_steps = 4
[training.local]
dense = { kind = "factored_adagrad", learning_rate = 0.01 }
rows = { kind = "adagrad", learning_rate = 0.05 }
row_merge = "adagrad"
[training.dense]
kind = "nesterov"
learning_rate = 0.5
[training.rows]
kind = "sgd"
learning_rate = 1.0"""


# Where there are two shards, with error feedback: a worker that is killed has lost its remainder.
_EXCHANGE: dict[Scheme, str] = {
    "hfl-2-shards": 'exchange = "int8"',
    "sdt-2-shards": 'exchange = "top-k"\nexchange_share = 0.1',
}


@dataclass(frozen=True)
class Pace:
    """How long a scene's runs are, and how long they wait.

    Attributes:
        patience: Seconds that a run waits for a node.
        epochs: Of about 47 steps each (hfl).
        checkpoint_steps: Steps from one checkpoint to the next.
    """

    patience: int = 90
    epochs: int = 3
    checkpoint_steps: int = 15


@dataclass(frozen=True)
class Scene:
    """A contract, its file, its data, and its parties' keys.

    Attributes:
        contract: The contract.
        file: Where it lies.
        data: One prepared data set per data-owning party, in a folder of its name.
        keys: One key file per party.
    """

    contract: Contract
    file: Path
    data: Path
    keys: dict[str, Path]


def scenes(folder: Path, pace: Pace = Pace()) -> dict[Scheme, Scene]:
    """Makes the scene of every scheme.

    Args:
        folder: For everything that is made.
        pace: The same for all.
    """
    folder.mkdir(exist_ok=True)
    raw = folder / "raw.tsv"
    synthesize(raw, rows=3500, seed=11)
    made: dict[Scheme, Scene] = {}
    for scheme in SCHEMES:
        home = folder / scheme
        home.mkdir()
        mode = scheme[:3]
        keys = {party: home / f"{party}.pem" for party in _PARTIES[mode]}
        publics = {party: public_key_text(generate_party_key(path)) for party, path in keys.items()}
        text = _text(scheme, publics, pace)
        (home / "contract.toml").write_text(text)
        contract = parse_contract(text.encode(), scheme)
        prepare(raw, home / "data", contract, deal="round-robin")
        made[scheme] = Scene(contract, home / "contract.toml", home / "data", keys)
    return made


def _text(scheme: Scheme, publics: dict[str, str], pace: Pace) -> str:
    mode = scheme[:3]
    lines = ["format = 1", f'name = "{scheme}"', f'mode = "{mode}"']
    lines += [f'[[parties]]\nname = "{party}"\nkey = "{key}"' for party, key in publics.items()]
    host = "operator" if mode == "hfl" else "owner"
    nodes = [(f"ps{shard}", "ps", host) for shard in range(2 if "shards" in scheme else 1)]
    if mode == "hfl":
        nodes += [(f"{party}-worker", "worker", party) for party in ("acme", "bolt")]
    else:
        nodes += [
            ("worker0", "worker", host),
            ("worker1", "worker", host),
            ("chief", "chief", host),
        ]
    lines += [f'[[nodes]]\nname = "{n}"\nrole = "{r}"\nparty = "{p}"' for n, r, p in nodes]
    optimizers = _LOCAL if scheme == "hfl-2-shards" else _GRADIENTS
    exchange = _EXCHANGE.get(scheme, "")
    lines.append(_COMMON.format(**asdict(pace), exchange=exchange, optimizers=optimizers))
    for role in sorted({role for _, role, _ in nodes}):
        lines.append(f"[trust.roles.{role}]")
        lines.append('measurement = "own"\naccepted_tcb_statuses = ["UpToDate"]')
    return "\n".join(lines) + "\n"
