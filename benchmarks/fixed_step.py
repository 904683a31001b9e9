"""A worker's step without a model: gradients that were made before, of the shape of real ones.

It leaves the exchange as the only work of a run. Zeros are where a DLRM's are, in the columns and
rows of units that ReLU leaves dead, and magnitudes spread like those of a training's first hundred
steps. Row ids are those of the data set, which workers read as ever.
"""

from __future__ import annotations

import itertools

import numpy as np
from typing_extensions import override

from coterie.arrays import FloatArray
from coterie.contract import Contract
from coterie.training.step import StepGradients, StepMaker, WorkerStep

_DISTINCT = 4  # sets of gradients that a worker takes turns with
_DEAD = {512: 0.24, 256: 0.27, 64: 0.2, 16: 0.35}  # of a layer's units, by its width
# Decimal logarithms of magnitudes by quantile, as measured after 120 steps of a synthetic run.
_QUANTILES = (0.0, 0.01, 0.25, 0.5, 0.75, 0.99, 1.0)
_DENSE_LOG10 = (-8.0, -7.2, -5.3, -3.1, -2.1, -1.0, -0.3)
_ROWS_LOG10 = (-6.0, -5.3, -3.9, -3.4, -2.3, -1.1, -0.3)
_LOSS = 0.5  # per example; the run must not look as if it diverged


class FixedStep(WorkerStep):
    """Gives a worker's gradients without computing them.

    Args:
        contract: Gives every shape.
        seed: Of the gradients; dead units and magnitudes are common to all seeds.
    """

    def __init__(self, contract: Contract, seed: int) -> None:
        model, data = contract.model, contract.data
        self.batch = contract.training.batch
        self.shapes = tuple(parameter.shape for parameter in model.dense_parameters(data))
        self.parameters = sum(int(np.prod(shape)) for shape in self.shapes)
        self.numeric, self.categorical = len(data.numeric), len(data.categorical)
        self.dim = model.embedding_dim
        random = np.random.default_rng(seed)
        # A parameter's gradient is large, small or 0 in every worker and step.
        common = np.random.default_rng(0)
        usual_p = _spread(common, (self.parameters,), _DENSE_LOG10) * _alive(self.shapes)
        embedded = (self.batch, self.categorical, self.dim)
        self._made = itertools.cycle(
            [
                (
                    usual_p * random.normal(size=self.parameters).astype(np.float32),
                    _spread(random, embedded, _ROWS_LOG10),
                )
                for _ in range(_DISTINCT)
            ]
        )

    @override
    def gradients(
        self,
        flat_p: FloatArray,
        dense_bn: FloatArray,
        embedded_bmd: FloatArray,
        labels_b: FloatArray,
        weights_b: FloatArray | None = None,
    ) -> StepGradients:
        examples = len(labels_b)
        dense_p, gradient_bmd = next(self._made)
        return StepGradients(
            _LOSS * examples, examples, examples // 2, dense_p, gradient_bmd[:examples]
        )

    @override
    def scores(
        self, flat_p: FloatArray, dense_bn: FloatArray, embedded_bmd: FloatArray
    ) -> FloatArray:
        return embedded_bmd[:, 0, 0]

    @override
    def warm_up(self) -> None:
        pass


def fixed_step(worker: str) -> StepMaker:
    """Makes a worker's fixed steps; its gradients follow from its name."""
    return lambda contract: FixedStep(contract, int.from_bytes(worker.encode()))


def _alive(shapes: tuple[tuple[int, ...], ...]) -> FloatArray:
    """float32 [P]: 0 where the gradient of a DLRM's dense parameters is 0, else 1."""
    random = np.random.default_rng(0)
    parts: list[FloatArray] = []
    inputs = np.zeros(0, np.bool_)
    for shape in shapes:
        if len(shape) == 2:  # the kernel of a layer; its bias follows
            dead = random.random(shape[1]) < _DEAD.get(shape[1], 0.0)
            before = inputs if len(inputs) == shape[0] else np.zeros(shape[0], np.bool_)
            alive = ~(before[:, None] | dead[None, :])
            inputs = dead
        else:
            alive = ~inputs
        parts.append(alive.astype(np.float32).reshape(-1))
    return np.concatenate(parts)


def _spread(
    random: np.random.Generator, shape: tuple[int, ...], logarithms: tuple[float, ...]
) -> FloatArray:
    """float32 values of both signs, with magnitudes of these quantiles."""
    signs = random.choice(np.array([-1.0, 1.0], np.float32), shape)
    magnitudes = 10 ** np.interp(random.random(shape), _QUANTILES, logarithms)
    return (signs * magnitudes).astype(np.float32)
