"""``--continue``: makes the contract of a run that starts from a finished run on this machine."""

from __future__ import annotations

from pathlib import Path

from coterie.contract import Contract, Party, load_contract, with_section
from coterie.errors import StartRefused
from coterie.nodes.start_section import continued
from coterie.receipts.reading import read_receipt
from coterie.runs.result_file import read_result
from coterie.runs.run_files import CONTRACT, RECEIPT


def continued_run(
    folder: Path,
    contract: Contract | None = None,
    *,
    epochs: int | None = None,
    new_optimizer_state: bool = False,
) -> Contract:
    """The contract that starts from a finished run's folder.

    Args:
        folder: The run's folder, with the files that its result names.
        contract: The new run's contract; by default the finished run's.
        epochs: Passes over the data, in place of the contract's.
        new_optimizer_state: Whether the optimizers' state starts again.

    Raises:
        ResultUnreadable: The run has not finished.
        CoterieError: As for ``continued``.
    """
    result = read_result(folder)
    made = contract or _as_given(load_contract(folder / CONTRACT))
    if epochs is not None:
        section = made.training.model_dump(mode="json") | {"epochs": epochs}
        made = with_section(made, "training", section)
    receipt = folder / RECEIPT
    head = _last_digest(receipt) if receipt.exists() else None
    made = continued(made, folder, new_optimizer_state=new_optimizer_state, receipt=head)
    assert made.start is not None
    if made.start.model != result.model_digest:
        raise StartRefused(
            f"the model in {folder} is not the one that the run's result names",
            expected=f"model {result.model_digest}",
            seen=f"model {made.start.model}",
            remedy="restore the folder from a copy",
        )
    return made


def _as_given(contract: Contract) -> Contract:
    """A run's contract without its own start, and without its temporary keys."""
    parties = contract.parties
    if contract.trust.simulated and not contract.trust.signatures_demanded:
        parties = tuple(Party(name=party.name) for party in parties)
    return contract.model_copy(update={"parties": parties, "start": None})


def _last_digest(receipt: Path) -> str:
    digest = ""
    for entry in read_receipt(receipt):
        digest = entry.digest
    return digest
