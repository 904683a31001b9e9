"""One PyTorch process that trains the global batch: ``EmbeddingBag(sparse=True)``, SGD."""

from __future__ import annotations

import itertools

from benchmarks.peers.model import (
    BOTTOM,
    COLUMNS,
    DIM,
    LEARNING_RATE,
    TOP,
    WARM_UP_STEPS,
    Meter,
    batches,
    column_rows,
    cycle,
    parse,
    report,
    say,
)


def main() -> None:
    """Trains and prints the figures; says so where PyTorch is not installed."""
    options = parse(__doc__, ("eager",), threads=2)
    try:
        import torch
    except ImportError as error:
        say({"unavailable": f"PyTorch is not installed: {error}"})
        return
    torch.set_num_threads(options.threads)
    torch.manual_seed(3)
    table = torch.nn.EmbeddingBag(column_rows(options.rows) * COLUMNS, DIM, mode="sum", sparse=True)

    def mlp(widths: tuple[int, ...], *, last_relu: bool) -> torch.nn.Sequential:
        made: list[torch.nn.Module] = []
        for inputs, outputs in itertools.pairwise(widths):
            made += [torch.nn.Linear(inputs, outputs), torch.nn.ReLU()]
        return torch.nn.Sequential(*(made if last_relu else made[:-1]))

    bottom, top = mlp(BOTTOM, last_relu=True), mlp(TOP, last_relu=False)
    parameters = [*table.parameters(), *bottom.parameters(), *top.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=LEARNING_RATE)
    lower = torch.tril_indices(COLUMNS + 1, COLUMNS + 1, offset=-1)
    size = options.workers * options.batch
    bags = torch.arange(size * COLUMNS)
    made = [
        tuple(torch.from_numpy(array) for array in (b.dense_bn, b.ids_bm, b.labels_b))
        for b in batches(size, options.rows, seed=1)
    ]

    def step(dense_bn: torch.Tensor, ids_bm: torch.Tensor, labels_b: torch.Tensor) -> float:
        bottom_bd = bottom(dense_bn)
        embedded = table(ids_bm.reshape(-1), bags).reshape(size, COLUMNS, DIM)
        vectors = torch.cat([bottom_bd[:, None], embedded], dim=1)
        dots = torch.bmm(vectors, vectors.transpose(1, 2))[:, lower[0], lower[1]]
        logits = top(torch.cat([bottom_bd, dots], dim=1))[:, 0]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels_b)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    for batch in cycle(made, WARM_UP_STEPS):
        step(*batch)
    meter = Meter()
    for batch in cycle(made, options.steps):
        step(*batch)
    report(options, meter.spent(), processes=1)


if __name__ == "__main__":
    main()
