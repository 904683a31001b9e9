"""What the chart refuses to render, and what it says then."""

from __future__ import annotations

from collections.abc import Callable

import helm_python
import pytest

from tests.deploy.rendering import Mode, Object, TeeName, paper_values, render

pytestmark = pytest.mark.long


def put(path: str, value: object) -> Callable[[Object], None]:
    """Sets one value, at a path with dots."""

    def change(values: Object) -> None:
        *folders, last = path.split(".")
        for folder in folders:
            values = values.setdefault(folder, {})
        values[last] = value

    return change


def drop(path: str) -> Callable[[Object], None]:
    """Removes one value."""

    def change(values: Object) -> None:
        *folders, last = path.split(".")
        for folder in folders:
            values = values[folder]
        del values[last]

    return change


def replaced(before: str, after: str) -> Callable[[Object], None]:
    """Changes the contract's text."""

    def change(values: Object) -> None:
        text = values["contract"]["text"]
        assert before in text
        values["contract"]["text"] = text.replace(before, after)

    return change


REFUSALS: list[tuple[str, Mode, TeeName, Callable[[Object], None], str]] = [
    ("no contract", "hfl", "sgx", put("contract.text", ""), "contract.text is empty"),
    ("no TOML", "hfl", "sgx", put("contract.text", "a = = 1"), "contract.text is not TOML"),
    (
        *("a kind of TEE without a place", "hfl", "sgx", put("placements", {})),
        "node ps0 runs in the TEE sgx, and the values say nowhere where that is: give placements.sgx",
    ),
    (
        "a role's own kind without a place",
        *("hfl", "sgx", replaced("[trust.roles.worker]", '[trust.roles.worker]\ntee = "snp"')),
        "node acme-worker runs in the TEE snp, and the values say nowhere where that is: give placements.snp",
    ),
    (
        "a node's own kind without a place",
        *("hfl", "sgx", replaced('name = "bolt-worker"', 'name = "bolt-worker"\ntee = "tdx"')),
        "node bolt-worker runs in the TEE tdx, and the values say nowhere where that is: give placements.tdx",
    ),
    *(
        (
            f"{key} of a real node",
            *(
                "hfl",
                "sgx",
                replaced("[trust.roles.worker]", f"[trust.roles.worker]\n{key} = {value}"),
            ),
            f"trust.roles.worker demands {key}, and the chart gives nodes no source of it",
        )
        for key, value in (
            ("endorsement", '{roots = ["00"]}'),
            ("tokens", '[{issuer = "https://x"}]'),
            ("launcher", '"confidential-space"'),
        )
    ),
    (
        "tokens of one of several kinds",
        *(
            "hfl",
            "sgx",
            replaced(
                "\n[trust.roles.worker]",
                "\n[[trust.roles.worker.alternatives]]\ntokens = [{}]\n[trust.roles.worker]",
            ),
        ),
        "trust.roles.worker demands tokens",
    ),
    # The contract is a proposal of another party's until somebody has checked it.
    (
        *("a node whose name is YAML", "hfl", "sgx"),
        replaced('name = "ps0"', 'name = "ps0\\n      hostNetwork: true"'),
        "a node of the contract has the name",
    ),
    (
        *("a node whose role is YAML", "hfl", "sgx"),
        replaced('role = "ps"', 'role = "ps\\nx: y"'),
        "node ps0 of the contract has the role",
    ),
    (
        *("a node whose party is YAML", "hfl", "sgx"),
        replaced('party = "acme"', 'party = "acme\\nx: y"'),
        "a node of the contract has the name",
    ),
    (
        *("a place for nobody", "hfl", "sgx", put("placements.simulated", {})),
        "placements.simulated is for no node: the contract's run in sgx",
    ),
    (
        *("a kind that nobody knows", "hfl", "sgx", put("placements.trustzone", {})),
        "additional properties 'trustzone' not allowed",
    ),
    (
        *("a missing signature", "hfl", "sgx", drop("contract.signatures.corn")),
        "party corn has not signed",
    ),
    (
        "a signature that a simulated contract demands",
        *("hfl", "simulated"),
        replaced('tee = "simulated"', 'tee = "simulated"\ndemand_signatures = true'),
        "party operator has not signed",
    ),
    ("a stranger", "hfl", "sgx", put("parties", ["eve"]), "parties names eve, who is not in"),
    (
        *("a server elsewhere without address", "hfl", "sgx", put("parties", ["acme"])),
        "addresses.ps0 is empty",
    ),
    (
        *("a server that nobody may dial", "hfl", "sgx", put("parties", ["operator"])),
        "nobody may dial node ps0",
    ),
    (
        *("a party's key under a real TEE", "hfl", "sgx", put("partyKeys.acme", "acme-key")),
        "partyKeys are for simulated contracts only",
    ),
    (
        *("nobody to vouch", "hfl", "sgx", drop("keyServers.operator")),
        "nobody vouches for node ps0: give keyServers.operator",
    ),
    (
        *("nobody to vouch, simulated", "hfl", "simulated", drop("partyKeys.dune")),
        "give keyServers.dune, or partyKeys.dune",
    ),
    (
        *("a party without a share", "hfl", "sgx"),
        lambda values: (put("parties", ["operator"])(values), drop("keyServers.corn")(values))[0],
        "node ps0 needs a share of the checkpoints' key from every party: give keyServers.corn",
    ),
    (
        "sealed checkpoints without key servers",
        *("hfl", "simulated"),
        replaced('tee = "simulated"', 'tee = "simulated"\nseal_checkpoints = true'),
        "give keyServers.acme",
    ),
    ("no data", "sdt", "sgx", drop("data.owner"), "data.owner is empty: node chief owns data"),
    ("no PCCS", "sdt", "sgx", put("pccs.url", ""), "pccs.url is empty"),
    ("no way to the PCCS", "sdt", "sgx", put("pccs.cidr", ""), "pccs.cidr is empty"),
    ("a PCCS in the clear", "sdt", "sgx", put("pccs.url", "http://pccs.example"), "pccs/url"),
    (
        *("an image without digest", "sdt", "simulated", put("image.digest", "")),
        "image.digest is empty",
    ),
    (
        *("an enclave without digest", "sdt", "sgx", put("workerImage.digest", "")),
        "workerImage.digest is empty",
    ),
    (
        *("a server's image without digest", "sdt", "sgx", put("psImage.digest", "")),
        "psImage.digest is empty",
    ),
    (
        *("a quoting service without digest", "sdt", "sgx", put("aesm.digest", "")),
        "aesm.digest is empty",
    ),
    ("a tag for a digest", "sdt", "sgx", put("workerImage.digest", "latest"), "workerImage/digest"),
    ("an unknown value", "sdt", "sgx", put("imgae", {}), "imgae"),
    ("an unknown value inside", "sdt", "sgx", put("network.hostNetwork", True), "hostNetwork"),
    *(
        (f"YAML for a name, {path}", *("hfl", "simulated", put(path, "a\n  b: c")), said)
        for path, said in (
            ("storageClass", "storageClass"),
            ("network.clusterDomain", "clusterDomain"),
            ("data.acme.claim", "claim"),
            ("partyKeys.acme", "partyKeys/acme"),
            ("schedulerName", "schedulerName"),
            ("priorityClassName", "priorityClassName"),
            ("queue", "queue"),
            ("placements.simulated.runtimeClassName", "runtimeClassName"),
        )
    ),
    ("a way out of the volume", "sdt", "sgx", put("data.owner.folder", "../x"), "folder"),
]


@pytest.mark.parametrize(
    ("mode", "tee", "change", "said"),
    [case[1:] for case in REFUSALS],
    ids=[case[0] for case in REFUSALS],
)
def test_it_says_what_is_wrong(
    mode: Mode, tee: TeeName, change: Callable[[Object], None], said: str
) -> None:
    values = paper_values(mode, tee)
    assert render(values)
    change(values)
    with pytest.raises(helm_python.HelmError) as refused:
        render(values)
    assert said in str(refused.value)


def test_a_release_name_that_is_too_long_is_refused() -> None:
    with pytest.raises(helm_python.HelmError, match="longer than the 63 characters"):
        render(
            paper_values("hfl", "sgx"), name="a-release-name-that-is-much-longer-than-any-should-be"
        )


def test_the_chart_alone_renders_nothing() -> None:
    with pytest.raises(helm_python.HelmError, match=r"contract\.text is empty"):
        render({})
