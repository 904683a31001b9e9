"""``coterie init`` writes a valid contract from options or answers, and never over a file."""

from __future__ import annotations

import csv
import os
import pty
import select
import shlex
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from coterie.attestation.roots import INTEL_NAMES
from coterie.attestation.tee.simulated.azure import PARAVISOR, SimulatedVm
from coterie.attestation.tee.simulated.pki import SimulatedPki
from coterie.attestation.tee.simulated.snp_vendor import GuestFields, SimulatedAmd
from coterie.contract import Contract, contract_digest, load_contract
from coterie.kinds import TeeKind
from tests.cli.conftest import Run

KEY = "ed25519:" + "ab" * 32
MRENCLAVE = "cd" * 32


def drafted(run: Run, out: Path, *options: str) -> Contract:
    ran = run("init", out, *options, "--json")
    assert ran.code == 0, ran.out
    contract = load_contract(out)
    assert ran.value == {
        "file": str(out),
        "name": contract.name,
        "contract_digest": contract_digest(contract).hex(),
    }
    return contract


def test_defaults_are_two_companies(run: Run, tmp_path: Path) -> None:
    contract = drafted(run, tmp_path / "Our Model.toml", "--yes")
    assert contract.name == "our-model"
    assert contract.mode == "hfl"
    assert [party.name for party in contract.parties] == ["operator", "acme", "bolt"]
    assert contract.trust.tee == "simulated"
    assert (contract.data.rows, contract.training.batch) == (100_000, 128)


def test_options_are_answers(run: Run, tmp_path: Path) -> None:
    options = ("--scheme", "sdt", "--party", "mine", "--workers", "3", "--examples", "5000000")
    contract = drafted(
        run, tmp_path / "c.toml", *options, "--yes", "--name", "big", "--epochs", "2"
    )
    assert (contract.name, contract.mode, contract.training.epochs) == ("big", "sdt", 2)
    assert len(contract.by_role("worker")) == 3
    assert (contract.data.rows, contract.training.batch) == (1_000_000, 2048)


def test_thin_lines_have_workers_train_between_exchanges(run: Run, tmp_path: Path) -> None:
    training = drafted(run, tmp_path / "c.toml", "--lines", "thin", "--yes").training
    assert (training.batch, training.local_steps) == (128, 16)
    assert training.local is not None
    assert training.exchange == "bfloat16"


def test_an_operator_may_own_data(run: Run, tmp_path: Path) -> None:
    options = ("--party", "acme", "--party", "bolt", "--operator", "acme")
    contract = drafted(run, tmp_path / "c.toml", *options, "--yes")
    assert [party.name for party in contract.parties] == ["acme", "bolt"]
    assert contract.by_role("ps")[0].party == "acme"


def test_a_contract_for_sgx_names_keys_and_reference_values(run: Run, tmp_path: Path) -> None:
    contract = drafted(
        run,
        tmp_path / "c.toml",
        *("--party", f"acme={KEY}", "--operator", f"host={KEY}", "--tee", "sgx"),
        *("--mrenclave", MRENCLAVE.upper(), "--minimum-evaluation", "17", "--yes"),
    )
    assert {party.key for party in contract.parties} == {KEY}
    table = contract.trust.roles.ps
    assert table is not None
    assert (table.mrenclave, table.minimum_tcb_evaluation_number) == ((MRENCLAVE,), 17)


@pytest.mark.parametrize("vendor", [SimulatedAmd(prefix=""), SimulatedAmd(prefix="", key="vlek")])
def test_a_contract_for_snp_takes_all_from_evidence(
    run: Run, tmp_path: Path, vendor: SimulatedAmd
) -> None:
    file = tmp_path / "evidence.bin"
    file.write_bytes(vendor.evidence(GuestFields(b"\x33" * 48)))
    parties = ("--operator", f"op={KEY}", "--party", f"acme={KEY}", "--party", f"bolt={KEY}")
    options = ("--tee", "snp", "--evidence", str(file), *parties, "--yes")
    trust = drafted(run, tmp_path / "c.toml", *options).trust
    assert trust.kinds == {"snp"}
    table = trust.roles.worker
    assert table is not None
    assert table.snp is not None
    assert table.snp.launch_measurement == ("33" * 48,)
    assert (table.snp.vmpl, table.snp.signing_key) == ((0,), (vendor.key,))
    assert table.snp.csp_id == ((vendor.csp_id,) if vendor.key == "vlek" else ())
    floor = table.snp.minimum_tcb.milan
    assert floor is not None
    assert vars(floor) == {part: getattr(vendor.tcb, part) for part in vars(floor)}


@pytest.mark.parametrize(
    "vm",
    [
        SimulatedVm(amd=SimulatedAmd(prefix=""), pcrs={7: b"\7" * 32}),
        SimulatedVm(tdx=True, pki=SimulatedPki(tee="TDX", names=INTEL_NAMES), pcrs={7: b"\7" * 32}),
    ],
)
def test_a_contract_for_azure_takes_all_from_evidence(
    run: Run, tmp_path: Path, vm: SimulatedVm
) -> None:
    kind = "azure-tdx" if vm.tdx else "azure-snp"
    file = tmp_path / "evidence.bin"
    file.write_bytes(vm.evidence(bytes(64), (4, 7)))
    parties = ("--operator", f"op={KEY}", "--party", f"acme={KEY}", "--party", f"bolt={KEY}")
    options = ("--tee", kind, "--evidence", str(file), *parties, "--yes")
    more = ("--minimum-evaluation", "17") if vm.tdx else ()
    trust = drafted(run, tmp_path / "c.toml", *options, *more).trust
    assert trust.stamp == kind
    table = trust.roles.worker
    assert table is not None
    assert table.vtpm is not None
    assert table.vtpm.pcrs == {"4": ("00" * 32,), "7": ("07" * 32,)}
    assert (table.vtpm.secure_boot, table.vtpm.console) == ((True,), (False,))
    if vm.tdx:
        assert (table.mrtd, table.td_attributes) == ((PARAVISOR.hex(),), ("00" * 8,))
    else:
        assert table.snp is not None
        assert table.snp.launch_measurement == (PARAVISOR.hex(),)


def test_evidence_of_another_kind_drafts_nothing(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "evidence.bin"
    file.write_bytes(SimulatedVm().evidence(bytes(64), (4,)))
    ran = run("init", tmp_path / "c.toml", "--tee", "azure-snp", "--evidence", str(file), "--yes")
    assert ran.code != 0
    assert not (tmp_path / "c.toml").exists()


def test_a_contract_for_simulated_guests(run: Run, tmp_path: Path) -> None:
    contract = drafted(run, tmp_path / "c.toml", "--tee", "simulated-snp", "--yes")
    assert contract.trust.stamp == "SIMULATED"
    assert contract.trust.kinds == {"simulated-snp"}


def test_roles_and_nodes_may_run_in_other_tees(run: Run, tmp_path: Path) -> None:
    contract = drafted(
        run,
        tmp_path / "c.toml",
        *("--tee-of", "worker=simulated-snp", "--tee-of", "bolt-worker=simulated-azure-tdx"),
        *("--party", "acme", "--party", "bolt", "--party", "corn", "--yes"),
    )
    assert [contract.kind_of(node) for node in contract.nodes] == [
        "simulated",
        "simulated-snp",
        "simulated-azure-tdx",
        "simulated-snp",
    ]


def test_each_real_tee_has_its_evidence(run: Run, tmp_path: Path) -> None:
    """No value is asked for the contract's own kind where every node runs in another one."""
    guest, azure = tmp_path / "guest.bin", tmp_path / "azure.bin"
    amd = SimulatedAmd(prefix="")
    guest.write_bytes(amd.evidence(GuestFields(b"\x33" * 48)))
    azure.write_bytes(SimulatedVm(amd=amd, pcrs={7: b"\7" * 32}).evidence(bytes(64), (7,)))
    contract = drafted(
        run,
        tmp_path / "c.toml",
        *("--tee", "sgx", "--tee-of", "worker=snp", "--tee-of", "ps=azure-snp"),
        *("--tee-of", "bolt-worker=azure-snp", "--evidence", str(azure), "--evidence", str(guest)),
        *("--operator", f"op={KEY}", "--party", f"acme={KEY}", "--party", f"bolt={KEY}", "--yes"),
    )
    assert [contract.kind_of(node) for node in contract.nodes] == ["azure-snp", "snp", "azure-snp"]
    for name, launch, pcrs in (
        ("ps0", PARAVISOR, (7,)),
        ("acme-worker", b"\x33" * 48, None),
        ("bolt-worker", PARAVISOR, (7,)),
    ):
        table = contract.table_of(contract.node(name))
        assert table.snp is not None
        assert table.snp.launch_measurement == (launch.hex(),)
        assert (table.vtpm.numbers if table.vtpm else None) == pcrs


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (("--tee-of", "worker"), "'worker' names no TEE of a role or node"),
        (("--tee-of", "worker=sev"), "'worker=sev' names no TEE of a role or node"),
        (
            ("--tee-of", "ps=simulated-snp", "--tee-of", "ps=simulated"),
            "'ps=simulated' names no TEE of a role or node",
        ),
        (("--tee-of", "acme=simulated-snp"), "the contract has no role or node 'acme'"),
        (("--tee-of", "chief=simulated-snp"), "the contract has no role or node 'chief'"),
        (("--tee-of", "ps=snp"), "it is open: file with evidence of the agreed guest in snp"),
        (
            ("--tee", "snp", "--evidence", "EVIDENCE", "--evidence", "EVIDENCE"),
            "EVIDENCE is evidence of the same TEE as another file",
        ),
        (("--tee", "azure-snp", "--evidence", "EVIDENCE"), "EVIDENCE is evidence of another TEE"),
        (("--evidence", "EVIDENCE"), "--evidence does not belong here"),
    ],
)
def test_other_tees_that_do_not_fit_are_refused(
    options: tuple[str, ...], what: str, run: Run, tmp_path: Path
) -> None:
    evidence, out = tmp_path / "evidence.bin", tmp_path / "c.toml"
    evidence.write_bytes(SimulatedAmd(prefix="").evidence(GuestFields(b"\x33" * 48)))
    words = [one.replace("EVIDENCE", str(evidence)) for one in options]
    ran = run("init", out, *words, "--yes", "--json")
    assert ran.code == 2
    assert str(ran.value["what"]).startswith(what.replace("EVIDENCE", str(evidence)))
    assert not out.exists()


def test_real_and_simulated_tees_make_no_contract(run: Run, tmp_path: Path) -> None:
    evidence, out = tmp_path / "evidence.bin", tmp_path / "c.toml"
    evidence.write_bytes(SimulatedAmd(prefix="").evidence(GuestFields(b"\x33" * 48)))
    parties = ("--operator", f"op={KEY}", "--party", f"acme={KEY}", "--party", f"bolt={KEY}")
    options = ("--tee-of", "ps=snp", "--evidence", str(evidence), *parties)
    ran = run("init", out, *options, "--yes", "--json")
    assert (ran.code, ran.value["error"]) == (4, "ContractInvalid")
    assert "simulated and real never mix" in str(ran.value["seen"])
    assert not out.exists()


def test_a_summary_names_the_next_step(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "c.toml"
    text = run("init", out, "--yes").out
    assert "contract c, hfl, 3 nodes of 3 parties, tee simulated" in text
    assert f"--contract {out}" in text


REFUSED = [
    (("--scheme", "sdt", "--operator", "me"), "--operator does not belong here"),
    (("--workers", "2"), "--workers does not belong here"),
    (("--scheme", "sdt", "--party", "a", "--party", "b"), "sdt has one owner of data"),
    (("--mrenclave", MRENCLAVE), "--mrenclave does not belong here"),
    (("--minimum-evaluation", "3"), "--minimum-evaluation does not belong here"),
    (("--tee", "sgx"), "it is open: accepted MRENCLAVE"),
    (("--tee", "sgx", "--mrenclave", MRENCLAVE), "it is open: oldest accepted TCB"),
    (("--tee", "tdx"), "it is open: file with evidence of the agreed guest in tdx"),
    (
        ("--tee", "sgx", "--mrenclave", MRENCLAVE, "--minimum-evaluation", "3"),
        "it is open: public key of operator",
    ),
]


@pytest.mark.parametrize(("options", "what"), REFUSED)
def test_what_does_not_fit_is_refused(
    options: tuple[str, ...], what: str, run: Run, tmp_path: Path
) -> None:
    ran = run("init", tmp_path / "c.toml", *options, "--yes", "--json")
    assert ran.code == 2
    assert str(ran.value["what"]).startswith(what)
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_fits_no_contract_is_refused_before_anything_is_written(
    run: Run, tmp_path: Path
) -> None:
    ran = run("init", tmp_path / "c.toml", "--party", "Big Corp", "--yes", "--json")
    assert (ran.code, ran.value["error"]) == (4, "ContractInvalid")
    assert "parties.1.name" in str(ran.value["seen"])
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "c.toml"
    out.write_text("mine")
    ran = run("init", out, "--yes", "--json")
    assert (ran.code, ran.value["error"]) == (7, "OutputInUse")
    assert out.read_text() == "mine"


def test_a_folder_that_is_not_there_is_named(run: Run, tmp_path: Path) -> None:
    ran = run("init", tmp_path / "no" / "c.toml", "--yes", "--json")
    assert (ran.code, ran.value["error"]) == (7, "OutputInUse")
    assert ran.value["seen"] == "No such file or directory"


@pytest.mark.system
def test_without_a_terminal_nothing_is_asked(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "coterie", "init", str(tmp_path / "c.toml")],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "standard input is no terminal" in done.stderr
    assert "--scheme, or --yes for the defaults" in done.stderr


class Terminal:
    """A command on a real pseudo-terminal; answers are typed when their question is there."""

    def __init__(self, *words: str) -> None:
        self.shown = ""
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "coterie", *words],
            stdin=slave,
            stdout=subprocess.PIPE,
            stderr=slave,
            text=True,
            env={**os.environ, "TERM": "dumb", "COLUMNS": "200"},
        )
        os.close(slave)

    def answer(self, question: str, said: str) -> None:
        """Types a line once the question is shown."""
        self._wait(question)
        os.write(self._master, f"{said}\n".encode())

    def _wait(self, text: str) -> None:
        while text not in self.shown:
            ready, _, _ = select.select([self._master], [], [], 60)
            assert ready, self.shown
            self.shown += os.read(self._master, 4096).decode()
        self.shown = self.shown.partition(text)[2]

    def finish(self) -> str:
        """Waits for the end; what was printed on standard output."""
        out, _ = self.process.communicate(timeout=60)
        os.close(self._master)
        assert self.process.returncode == 0, self.shown
        return str(out)


@pytest.mark.system
def test_questions_are_asked_on_a_terminal_and_wrong_answers_again(tmp_path: Path) -> None:
    out = tmp_path / "c.toml"
    terminal = Terminal("init", str(out), "--json")
    terminal.answer("Scheme (hfl, sdt)", "both")
    terminal.answer("'both' is none of hfl, sdt", "hfl")
    terminal.answer("Companies that own data", "acme bolt corn")
    terminal.answer("Who runs the parameter server", "")
    terminal.answer("rows of data", "many")
    terminal.answer("'many' is no positive number", "2,000,000")
    terminal.answer("Lines between the machines (fast, thin)", "")
    terminal.answer(f"TEE ({', '.join(get_args(TeeKind))})", "sgx")
    terminal.answer("Roles or nodes in other TEEs", "")
    terminal.answer("Accepted MRENCLAVE", MRENCLAVE)
    terminal.answer("TCB evaluation data number", "17")
    for party in ("operator", "acme", "bolt", "corn"):
        terminal.answer(f"Public key of {party}", KEY)
    printed = terminal.finish()
    contract = load_contract(out)
    assert contract_digest(contract).hex() in printed
    assert [party.name for party in contract.parties] == ["operator", "acme", "bolt", "corn"]
    assert (contract.data.rows, contract.training.batch) == (1_000_000, 2048)
    assert contract.trust.tee == "sgx"


@pytest.mark.system
def test_an_interrupted_question_writes_nothing(tmp_path: Path) -> None:
    out = tmp_path / "c.toml"
    terminal = Terminal("init", str(out))
    terminal.answer("Scheme (hfl, sdt)", "hfl")
    terminal._wait("Companies that own data")
    terminal.process.send_signal(2)
    printed, _ = terminal.process.communicate(timeout=60)
    assert terminal.process.returncode == 130
    assert printed == ""
    assert not out.exists()


def test_a_contract_is_drafted_from_a_file(run: Run, tmp_path: Path) -> None:
    raw, out = tmp_path / "shop's.csv", tmp_path / "c.toml"
    lines = ["Clicked;User Age;price;shop;note\n"]
    lines += [
        f"{'true' if i % 3 else 'false'};{i % 50}.0;{i % 9},5{i % 7};s{i % 4};n{i}\n"
        for i in range(300)
    ]
    raw.write_text("".join(lines), encoding="utf-8")
    ran = run("init", out, "--from", raw, "--yes", "--json")
    assert ran.code == 0, ran.out
    data = load_contract(out).data
    assert (data.numeric, data.categorical) == (("User_Age", "price"), ("shop",))
    assert (dict(data.decimals), dict(data.column_rows)) == ({"price": 2}, {"shop": 10})
    assert "# Left out: note" in out.read_text(encoding="utf-8")
    words = shlex.split(str(ran.value["prepare"]))
    assert words[-4:] == ["--label", "Clicked", "--dialect", "table"]
    prepared = run("prepare", raw, tmp_path / "data", *words[4:], "--json")
    assert prepared.code == 0, prepared.out
    assert "sorted" not in str(prepared.value["warnings"])


def test_a_label_is_named_for_a_file_only(run: Run, tmp_path: Path) -> None:
    ran = run("init", tmp_path / "c.toml", "--label", "y", "--yes")
    assert ran.code == 2
    assert "--label does not belong here" in ran.err


@pytest.mark.parametrize("name", ['"]\nmode = "sdt"', "x\n[[parties]]"])
def test_names_of_a_file_are_no_part_of_the_contract(name: str, run: Run, tmp_path: Path) -> None:
    raw, out = tmp_path / "raw.csv", tmp_path / "c.toml"
    with raw.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["label", "n", "shop", name.replace("\n", " ")])
        writer.writerows([i % 2, i % 7, f"s{i % 3}", "same"] for i in range(60))
    assert run("init", out, "--from", raw, "--yes").code == 0
    assert load_contract(out).mode == "hfl"


def test_what_is_not_taken_from_a_file_is_told_with_its_reason(run: Run, tmp_path: Path) -> None:
    raw = tmp_path / "raw.csv"
    lines = [f"{i % 2},{i % 7},{20 + i % 40},s{i % 3}\n" for i in range(100)]
    lines[30], lines[40] = "1,3,[bold]?,s1\n", "0,3\n"
    raw.write_text("".join(["label,n,age,shop\n", *lines]), encoding="utf-8")
    ran = run("init", tmp_path / "c.toml", "--from", raw, "--yes")
    assert ran.code == 0
    age, row = ran.err.splitlines()
    assert age.startswith(
        "warning: age is taken for no number: all but 1 of 99 cells are numbers; others are [bold]?"
    )
    assert row == "warning: 1 of the rows looked at cannot be read: line 42: 2 cells instead of 4"
    value = run("init", tmp_path / "d.toml", "--from", raw, "--yes", "--json").value
    assert value["unread"] == "line 42: 2 cells instead of 4"
    assert set(value["doubtful"]) == {"age"}  # type: ignore[call-overload]
