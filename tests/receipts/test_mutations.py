"""Any changed byte is refused, and the place is named: a hundred seeded mutations, and each kind by itself."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from coterie.errors import ReceiptRefused
from coterie.ratls.identity import P256_ORDER
from coterie.receipts import entries
from tests.ratls.conftest import World
from tests.receipts.conftest import Scene, resign, values

pytestmark = pytest.mark.long


SEEDS = range(100)


@dataclass(frozen=True)
class Mutated:
    """A receipt after somebody has touched it.

    Attributes:
        content: The file.
        place: What the refusal's place begins with.
    """

    content: bytes
    place: str


Mutation = Callable[[list[bytes], list[bytes], random.Random], Mutated]


def whole(lines: list[bytes]) -> bytes:
    return b"".join(lines)


def at_line(index: int) -> str:
    return f"line {index + 1}"


def flipped(lines: list[bytes], _: list[bytes], chance: random.Random) -> Mutated:
    """One bit of any byte, ends of lines among them."""
    index = chance.randrange(len(lines))
    line = bytearray(lines[index])
    line[chance.randrange(len(line))] ^= 1 << chance.randrange(8)
    return Mutated(whole([*lines[:index], bytes(line), *lines[index + 1 :]]), at_line(index))


def byte_deleted(lines: list[bytes], _: list[bytes], chance: random.Random) -> Mutated:
    index = chance.randrange(len(lines))
    line = lines[index]
    cut = chance.randrange(len(line))
    return Mutated(
        whole([*lines[:index], line[:cut] + line[cut + 1 :], *lines[index + 1 :]]), at_line(index)
    )


def byte_inserted(lines: list[bytes], _: list[bytes], chance: random.Random) -> Mutated:
    index = chance.randrange(len(lines))
    line = lines[index]
    cut = chance.randrange(len(line))
    more = bytes([chance.randrange(256)])
    return Mutated(
        whole([*lines[:index], line[:cut] + more + line[cut:], *lines[index + 1 :]]), at_line(index)
    )


def bytes_swapped(lines: list[bytes], _: list[bytes], chance: random.Random) -> Mutated:
    index = chance.randrange(len(lines))
    line = bytearray(lines[index])
    while True:
        one, other = chance.sample(range(len(line) - 1), 2)
        if line[one] != line[other]:
            break
    line[one], line[other] = line[other], line[one]
    return Mutated(whole([*lines[:index], bytes(line), *lines[index + 1 :]]), at_line(index))


def line_deleted(lines: list[bytes], _: list[bytes], chance: random.Random) -> Mutated:
    """Of any but the last: the next one is where it should be."""
    index = chance.randrange(len(lines) - 1)
    return Mutated(whole([*lines[:index], *lines[index + 1 :]]), at_line(index))


def lines_swapped(lines: list[bytes], _: list[bytes], chance: random.Random) -> Mutated:
    one, other = sorted(chance.sample(range(len(lines)), 2))
    changed = list(lines)
    changed[one], changed[other] = changed[other], changed[one]
    return Mutated(whole(changed), at_line(one))


def line_repeated(lines: list[bytes], _: list[bytes], chance: random.Random) -> Mutated:
    index = chance.randrange(len(lines))
    place = chance.randrange(index + 1, len(lines) + 1)
    return Mutated(whole([*lines[:place], lines[index], *lines[place:]]), at_line(place))


def truncated(lines: list[bytes], _: list[bytes], chance: random.Random) -> Mutated:
    content = whole(lines)
    cut = chance.randrange(len(content))
    left = content[:cut]
    done = left.count(b"\n")
    place = f"after line {done}" if left.endswith(b"\n") or not left else at_line(done)
    return Mutated(left, place)


def of_another_run(lines: list[bytes], others: list[bytes], chance: random.Random) -> Mutated:
    """An entry of another run of the same parties takes the place of this one's."""
    index = chance.randrange(1, len(lines))
    return Mutated(whole([*lines[:index], others[index], *lines[index + 1 :]]), at_line(index))


def digit_changed(lines: list[bytes], _: list[bytes], chance: random.Random) -> Mutated:
    """A number or a hex digit becomes another one: still a perfect entry."""
    index = chance.randrange(len(lines))
    line = bytearray(lines[index])
    digits = [i for i, octet in enumerate(line) if chr(octet).isdigit()]
    place = chance.choice(digits)
    line[place] = ord("1") if line[place] != ord("1") else ord("2")
    return Mutated(whole([*lines[:index], bytes(line), *lines[index + 1 :]]), at_line(index))


def resigned_tail(lines: list[bytes], _: list[bytes], chance: random.Random) -> Mutated:
    """From some entry on everything is written anew, by a key of the forger's."""
    index = chance.randrange(1, len(lines))
    key = ec.generate_private_key(ec.SECP256R1())
    changed, previous = list(lines[:index]), entries.line_digest(lines[index - 1][:-1])
    for line in lines[index:]:
        said = values(line)
        del said["signature"]
        said["previous"] = previous
        said["signature"] = raw_signature(key, entries.signed_bytes(said))
        again = entries.canonical(said)
        previous = entries.line_digest(again)
        changed.append(again + b"\n")
    return Mutated(whole(changed), at_line(index))


def raw_signature(key: ec.EllipticCurvePrivateKey, statement: bytes) -> str:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    r, s = decode_dss_signature(key.sign(statement, ec.ECDSA(hashes.SHA256())))
    return (r.to_bytes(32, "big") + min(s, P256_ORDER - s).to_bytes(32, "big")).hex()


MUTATIONS: list[Mutation] = [
    flipped, byte_deleted, byte_inserted, bytes_swapped, digit_changed,
    line_deleted, lines_swapped, line_repeated, truncated, of_another_run, resigned_tail,
]  # fmt: skip


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory, finished: Scene) -> list[bytes]:
    """The lines of another run of the same parties under the same contract."""
    folder = tmp_path_factory.mktemp("others")
    return Scene(finished.world, folder).whole().read_bytes().splitlines(keepends=True)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_mutation_is_refused_with_its_place(
    finished: Scene, others: list[bytes], seed: int, scene: Scene
) -> None:
    chance = random.Random(seed)
    lines = finished.path.read_bytes().splitlines(keepends=True)
    mutation = MUTATIONS[seed % len(MUTATIONS)]
    mutated = mutation(lines, others, chance)
    assert mutated.content != whole(lines)
    scene.path.write_bytes(mutated.content)
    with pytest.raises(ReceiptRefused) as refusal:
        scene.verify()
    assert refusal.value.place.split(" (")[0] == mutated.place, (mutation.__name__, refusal.value)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_every_kind_of_mutation_is_among_them(mutation: Mutation) -> None:
    assert sum(MUTATIONS[seed % len(MUTATIONS)] is mutation for seed in SEEDS) >= 9


@pytest.mark.sampled
def test_every_byte_of_the_last_line_counts(
    finished: Scene, scene: Scene, *, exhaustive: bool
) -> None:
    """Nothing follows it, so no later hash tells: its own signature has to."""
    *lines, last = finished.path.read_bytes().splitlines(keepends=True)
    for place in range(0, len(last), 1 if exhaustive else 17):
        changed = bytearray(last)
        changed[place] ^= 1
        scene.path.write_bytes(whole([*lines, bytes(changed)]))
        with pytest.raises(ReceiptRefused) as refusal:
            list(entries_of(scene))
        assert refusal.value.place.startswith(f"line {len(lines) + 1}")


def test_the_other_value_of_s_is_refused(finished: Scene, scene: Scene) -> None:
    """ECDSA has two signatures for one; the second would change the last line unnoticed."""
    *lines, last = finished.path.read_bytes().splitlines(keepends=True)
    said = values(last)
    signature = str(said["signature"])
    other = P256_ORDER - int(signature[64:], 16)
    said["signature"] = signature[:64] + f"{other:064x}"
    scene.path.write_bytes(whole([*lines, entries.canonical(said) + b"\n"]))
    with pytest.raises(ReceiptRefused, match="signature does not fit") as refusal:
        scene.verify()
    assert refusal.value.place == "line 11 (outcome)"


@pytest.mark.parametrize(
    "spell",
    [
        lambda said: json.dumps(said).encode(),
        lambda said: json.dumps(said, separators=(",", ":")).encode()[::1],
        lambda said: entries.canonical(said) + b" ",
        lambda said: b" " + entries.canonical(said),
        lambda said: entries.canonical(said).replace(b'"index":10', b'"index":10.0'),
        lambda said: entries.canonical(said).replace(b'"index":10', b'"index":10,"index":10'),
        lambda said: entries.canonical(said).replace(b'"kind"', b'"\\u006bind"'),
        lambda said: entries.canonical(said) + b"\r",
    ],
)
def test_another_spelling_is_refused(
    finished: Scene, scene: Scene, spell: Callable[[dict[str, object]], bytes]
) -> None:
    *lines, last = finished.path.read_bytes().splitlines(keepends=True)
    said = values(last)
    reordered = dict(reversed(said.items()))
    scene.path.write_bytes(whole([*lines, spell(reordered) + b"\n"]))
    with pytest.raises(ReceiptRefused) as refusal:
        scene.verify()
    assert refusal.value.place.startswith("line 11")


def test_a_receipt_that_is_signed_anew_by_another_key_is_refused(
    finished: Scene, scene: Scene
) -> None:
    """A whole chain by a key that no TEE has attested: the certificate names another one."""
    stranger = World().trust("ps0").credentials.current().identity
    at = finished.world.clock()
    resign(finished.bodies(), stranger, scene.path, lambda _: at)
    with pytest.raises(ReceiptRefused, match="signature does not fit") as refusal:
        scene.verify()
    assert refusal.value.place == "line 1 (server)"


def entries_of(scene: Scene) -> list[entries.Entry]:
    from coterie.receipts.reading import read_entries

    return list(read_entries(scene.path))
