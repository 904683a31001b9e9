"""Explains in plain words what an accepted receipt proves, and what it does not."""

from __future__ import annotations

from coterie.receipts import entry_types
from coterie.receipts.cluster_history import ClusterHistory
from coterie.receipts.entries import Entry
from coterie.receipts.findings import Findings
from coterie.text import printable

_ENDINGS: dict[entry_types.Ending, str] = {
    "returned": "the program returned",
    "failed": "the program failed",
    "stopped": "the process was told to end",
}
_TEES = {
    "SIMULATED": "a simulated TEE",
    "sgx": "an SGX enclave",
    "tdx": "a TDX guest",
    "snp": "an SEV-SNP guest",
    "azure-snp": "an Azure guest above SEV-SNP, measured by its virtual TPM",
    "azure-tdx": "an Azure guest above TDX, measured by its virtual TPM",
    "mixed": "TEEs of the kinds that the contract gives them",
}


def proves(found: Findings) -> tuple[str, ...]:
    """What an accepted receipt proves, under the assumptions that ``does_not_prove`` lists."""
    lines = [*_signed(found), *_upgrades(found)]
    lines += _of_a_run(found) if found.cluster is None else _of_a_cluster(found, found.cluster)
    return _clean(lines)


def _signed(found: Findings) -> list[str]:
    """Who wrote it under which contract, and who proved itself."""
    contract, digest = found.contract, found.contract_digest
    signers = ", ".join(found.signers)
    server = contract.receipt_keeper().name
    return [
        (
            f"No byte was changed since {server} wrote it: {found.entries} entries, each signed by a key "
            "that was made in its TEE."
        ),
        f"The run was under contract {contract.name} with digest {digest}; "
        + (f"signed by {signers}." if signers else "no party's signature is in it."),
        (
            f"{len({proved.node for proved in found.proved})} nodes proved to {server} that they run, in "
            f"{_TEES[found.stamp]}, what the contract lists, for the party that the contract names; "
            "their evidence and their parties' vouchers were judged again, here."
        ),
    ]


def _of_a_cluster(found: Findings, cluster: ClusterHistory) -> list[str]:
    """What a TensorFlow cluster's receipt tells of the program."""
    assert cluster.begun is not None  # of an accepted receipt
    names = [node.name for node in found.contract.nodes if node.name in cluster.joins]
    starts = ", ".join(f"{name} {cluster.joins[name]}" for name in names)
    server = found.contract.receipt_keeper().name
    lines = [
        (
            f"A TensorFlow cluster ran, under program {cluster.begun.program} and TensorFlow {cluster.begun.wheel}: "
            f"{server} measured both before it began the program, and each of {', '.join(names)} proved before "
            "that that it is under the contract, which names both."
        ),
        f"Starts that proved themselves, by node: {starts}.",
    ]
    if cluster.refused_calls is not None:
        lines.append(
            f"Calls of TensorFlow were inspected at {server}; refused were {cluster.refused_calls:,}."
        )
    if cluster.starts > 1:
        lines.append(f"{server}'s process was started {cluster.starts} times.")
    if cluster.endings:
        lines.append(f"How it ended: {', '.join(_ENDINGS[how] for how in cluster.endings)}.")
    return lines


def _of_a_run(found: Findings) -> list[str]:
    """What a run's receipt tells of the training."""
    outcome, history = found.outcome, found.history
    lines = _start(found)
    workers = [node.name for node in found.contract.nodes if node.name in history.data_sets]
    for worker in workers:  # in the contract's order, not the order of joining
        brought = history.data_sets[worker]
        lines.append(
            f"{worker} trained on {brought.examples:,} examples; SHA-256 of its training shard "
            f"{brought.data_set}."
        )
    absent = ", ".join(
        f"{a.worker} from step {a.start} to "
        + ("the end" if a.stop is None else f"before step {a.stop}")
        for a in outcome.absences
    )
    lines.append(f"Left out were: {absent}." if absent else "No worker was left out of any step.")
    if history.starts > 1 or history.went_back:
        back = ", ".join(map(str, history.went_back)) or "none"
        lines.append(
            f"The server's process was started {history.starts} times; steps that the run went back "
            f"to: {back}."
        )
    exchange = found.contract.training.exchange
    if exchange != "float32":
        lines.append(f"By the contract, workers sent their gradients as {exchange}.")
    holds = f", and holds {found.updates:,} updates in all" if found.contract.start else ""
    auc = "not released" if outcome.test_auc is None else f"{outcome.test_auc:.4f}"
    best = f", that of step {outcome.model_step:,}," if outcome.model_step != outcome.steps else ""
    lines.append(
        f"After {outcome.steps:,} steps over {outcome.examples:,} examples the model{best} has digest "
        f"{outcome.model_digest}{holds}; test AUC {auc}."
    )
    if outcome.validations:
        lines.append(f"It was validated {len(outcome.validations):,} times while it was trained.")
    if outcome.optimizer_state is not None:
        lines.append(f"What its optimizers keep has digest {outcome.optimizer_state}.")
    return lines


def _upgrades(found: Findings) -> list[str]:
    """Nodes that ran several programs one after the other, all of them listed by the contract."""
    ran: dict[str, dict[str, int]] = {}
    for proved in sorted(found.proved, key=lambda proved: proved.line):
        measured = ", ".join(f"{name} {value}" for name, value in proved.measurements)
        ran.setdefault(proved.node, {}).setdefault(measured, proved.line)
    return [
        f"{node} ran more than one program that the contract lists: "
        + "; ".join(f"{measured} (first in line {line})" for measured, line in programs.items())
        + "."
        for node, programs in ran.items()
        if len(programs) > 1
    ]


def _start(found: Findings) -> list[str]:
    """What the run started from, and what it added."""
    start, taken = found.contract.start, found.history.start
    if start is None or taken is None:
        return []
    state = "theirs begins anew" if start.optimizer_state == "new" else start.optimizer_state
    lines = [
        (
            f"The run went on from model {taken.model} of {taken.step:,} updates, trained under contract "
            f"{taken.contract}, which {taken.node} gave"
            + (f"; its optimizers' state: {state}." if state else ".")
        )
    ]
    if start.grown:
        rows = dict(
            zip(found.contract.data.categorical, found.contract.data.table_rows, strict=True)
        )
        told = (f"{name} from {old:,} to {rows[name]:,} rows" for name, old in start.grown.items())
        lines.append(f"Tables grew: {', '.join(told)}; new rows began as copies.")
    if start.new_columns:
        names = ", ".join(start.new_columns)
        lines.append(f"Columns that the start did not have began from the seed: {names}.")
    return lines


def walked(found: Findings, parents: tuple[Findings, ...]) -> tuple[str, ...]:
    """What the receipts of earlier runs prove about the model's origin."""
    lines = []
    for child, parent in zip((found, *parents), parents, strict=False):
        start = child.contract.start
        assert start is not None
        lines.append(
            f"Model {start.model}, which it went on from, came out of the run of receipt {parent.head}, "
            f"under contract {parent.contract_digest}"
            + (f", signed by {', '.join(parent.signers)}" if parent.signers else "")
            + f": {parent.outcome.steps:,} steps over {parent.outcome.examples:,} examples"
            + (", SIMULATED." if parent.stamp == "SIMULATED" else ".")
        )
    return _clean(lines)


def does_not_prove(
    found: Findings, parents: tuple[Findings, ...] = (), *, compared: bool = False
) -> tuple[str, ...]:
    """What an accepted receipt does not prove.

    Args:
        found: The accepted receipt.
        parents: The verified receipts of earlier runs.
        compared: Whether it was compared with a contract of the reader's own.
    """
    digest = found.contract_digest
    lines = []
    first = (found, *parents)[-1].contract.start
    if first is not None:
        lines.append(
            f"Where model {first.model}, which {'that run' if parents else 'it'} went on from, came from: "
            "give the receipt of its run with --parent."
        )
    if found.stamp == "SIMULATED":
        lines.append(
            "SIMULATED: everybody can make such evidence. Only the parties' vouchers are worth "
            "something here, and only against those who do not have a party's key."
        )
    if not compared:
        lines.append(
            f"That the contract is yours: compare its digest, {digest}, with the one that you signed, or "
            "give --contract."
        )
    if found.cluster is None:
        lines.append(
            "That the data are true, or the parties' own: the digests say which data, not what is in them."
        )
    else:
        lines.append(
            "What was trained on which data, for how many steps, and what came of it: TensorFlow's own servers "
            "do not tell, so the receipt names no data, step, checkpoint or model."
        )
    lines += [
        (
            "How the other shards of the server and the workers judged each other: each did by the same "
            "contract, which their measurements stand for."
        ),
        (
            "Anything of times but their order: they are the server's host's clock, within the hours for "
            "which certificates and collateral were valid."
        ),
        (
            "That no flaw of the platform was used that became known later: evidence is judged by what "
            "the vendor had said at the time."
        ),
        "What was done before the first or after the last entry, with the model least of all.",
    ]
    if found.cluster is not None:
        lines.append(
            "That all was told: its host could cut off the end of what a process wrote before it was killed, and "
            "everything after the last entry."
        )
    elif found.history.starts > 1:
        lines.append(
            f"That all was told: the server was started {found.history.starts} times. Before each restart its host "
            "could cut off what came after the last checkpoint, which shows as no gap: refusals, attestations, "
            "who was left out, the error that ended it."
        )
    lines += [f"Counted, not told: {counted}." for counted in found.history.counted_only]
    lines += [f"Gap: {gap}." for one in (found, *parents) for gap in one.gaps]
    return _clean(lines)


def describe(entry: Entry) -> str:
    """An entry as one line. Control characters in it are made harmless."""
    return printable(_sentence(entry), None)


def _clean(lines: list[str]) -> tuple[str, ...]:
    return tuple(printable(line, None) for line in lines)


def _sentence(entry: Entry) -> str:  # noqa: PLR0911, PLR0912 (one line per kind)
    match entry.body:
        case entry_types.Server(reason=reason, lost=lost):
            cut = f"; {lost} bytes were lost" if lost else ""
            return f"the server shows its evidence ({reason}){cut}"
        case entry_types.Agreement(stamp=stamp, digest=digest, signatures=signatures):
            signed = ", ".join(one.party for one in signatures) or "nobody"
            return f"contract {digest}, signed by {signed}  {stamp}"
        case entry_types.Signed(digest=digest):
            return f"collateral {digest[:16]}"
        case entry_types.AttestedNode(node=node, incarnation=incarnation, verdict=verdict):
            return f"{node} (start {incarnation}) proved itself: {verdict.tcb_status}"
        case entry_types.NodeJoined(node=node, examples=examples, data_set=data_set):
            brought = f" with {examples:,} examples, {data_set}" if data_set else ""
            return f"{node} joined{brought}"
        case entry_types.NodeLeftOut(node=node, step=step):
            return f"{node} is left out from step {step} on"
        case entry_types.NodeReturned(node=node, step=step):
            return f"{node} takes part again from step {step} on"
        case entry_types.PeerRefused(error=error, reason=reason):
            return f"refused a peer: {error}: {reason}"
        case entry_types.ProgramBegun(program=program, wheel=wheel):
            return f"all nodes proved themselves; program {program} begins, TensorFlow {wheel}"
        case entry_types.ProgramEnded(how=how, refused_calls=calls):
            refused = "" if calls is None else f"; refused calls: {calls:,}"
            return f"{_ENDINGS[how]}{refused}"
        case entry_types.RunBegun(run=run):
            return f"run {run} begins"
        case entry_types.StartTaken(node=node, model=model, step=step):
            return f"{node} gave model {model} of {step:,} updates to go on from"
        case entry_types.ServerResumed(step=step, digest=digest):
            return f"resumed from step {step}, {digest}"
        case entry_types.ServerRestarted(step=step):
            return f"went back to step {step}: a shard had lost its state"
        case entry_types.Checkpoint(step=step, digest=digest, loss=loss):
            mean = "" if loss is None else f", loss {loss:.4f}"
            return f"checkpoint at step {step}{mean}, {digest}"
        case entry_types.ServerFailed(error=error, reason=reason):
            return f"failed: {error}: {reason}"
        case entry_types.Outcome(steps=steps, model_digest=digest):
            return f"outcome after {steps:,} steps: model {digest}"
        case _:
            return entry.body.kind
