"""The dense core that a contract names: what workers train, apart from the embedding rows.

Importing this module does not load TensorFlow; making a core does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import zip_longest
from typing import cast

from coterie.contract import AnyModelSection, DataSection, KerasModelSection, LayerSection
from coterie.errors import EnvironmentUnfit, ModelUnfit


@dataclass(frozen=True)
class DlrmMaker:
    """Makes the DLRM's dense core.

    Attributes:
        bottom: Widths of the bottom MLP.
        top: Widths of the top MLP.
    """

    bottom: tuple[int, ...]
    top: tuple[int, ...]

    def __call__(self) -> object:
        """A ``keras.Model`` (dense [B, n], embedded [B, m, dim]) -> logits [B]."""
        from coterie.models.dlrm import DLRMCore

        return DLRMCore(self.bottom, self.top)


@dataclass(frozen=True)
class OwnModelMaker:
    """Makes a contract's own model.

    Attributes:
        layers: Each layer of the section as canonical JSON.
        numeric: Number of numeric columns.
        categorical: Number of categorical columns.
        embedding_dim: Width of an embedding row.
        parameters: Scalars that the section lists; the layers must not need more.
    """

    layers: tuple[str, ...]
    numeric: int
    categorical: int
    embedding_dim: int
    parameters: int

    def __call__(self) -> object:
        """A ``keras.Model`` (dense [B, n], embedded [B, m, dim]) -> logits [B].

        Raises:
            ModelUnfit: The layers do not fit together, or need too much memory.
        """
        from coterie.models.keras_model import build_model

        layers = [LayerSection.model_validate_json(layer) for layer in self.layers]
        return build_model(
            layers,
            self.numeric,
            self.categorical,
            self.embedding_dim,
            parameters=self.parameters,
        )


def core_of(model: AnyModelSection, data: DataSection) -> Callable[[], object]:
    """The maker of the core of a contract's model; hashable, and equal for equal models."""
    if isinstance(model, KerasModelSection):
        return OwnModelMaker(
            tuple(layer.model_dump_json() for layer in model.layers),
            len(data.numeric),
            len(data.categorical),
            model.embedding_dim,
            sum(parameter.size for parameter in model.dense_parameters(data)),
        )
    return DlrmMaker(model.bottom, model.top)


def check_core(
    core: object, names: tuple[str, ...] | None, shapes: tuple[tuple[int, ...], ...]
) -> None:
    """Checks that a core has exactly the contract's dense parameters, in their order.

    Args:
        core: A built ``keras.Model``.
        names: Names of the parameters; absent if the core is not the contract's.
        shapes: Shapes of the parameters.

    Raises:
        ModelUnfit: The contract's own core has other parameters.
        EnvironmentUnfit: Another core has other parameters, or state that is not trained.
    """
    import keras

    model = cast("keras.Model", core)
    # Names count too: two variables of one shape may start from different distributions.
    paths = tuple("/".join(variable.path.split("/")[-2:]) for variable in model.trainable_variables)
    seen = tuple(tuple(variable.shape) for variable in model.trainable_variables)
    others = len(model.non_trainable_variables)
    if seen != shapes or others or names not in {None, paths}:
        kind = EnvironmentUnfit if names is None else ModelUnfit
        raise kind(
            "the Keras model's variables are not the contract's dense parameters",
            expected=f"{_list(names or paths, shapes)}, nothing else",
            seen=f"{_list(paths, seen)} and {others} variables that are not trained",
            remedy="let coterie model describe write the section; a model of one's own code must have "
            "exactly these variables in this order",
        )


def _list(names: tuple[str, ...], shapes: tuple[tuple[int, ...], ...]) -> str:
    pairs = zip_longest(names, shapes, fillvalue="?")
    return ", ".join(f"{name} {shape}" for name, shape in pairs)
