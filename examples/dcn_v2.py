"""DCN v2 (Wang et al., 2021, arXiv:2008.13535) in plain Keras, as a contract's own model.

Prints the ``[model]`` section for a contract of Criteo's columns::

    python examples/dcn_v2.py --rank 32 >> contract.toml

``examples/dcn-hfl.toml`` was made so. The crossing layers are the paper's low-rank ones, beside a
deep network (the paper's parallel structure).
"""

from __future__ import annotations

import argparse

import keras

import coterie


def dcn_v2(
    numeric: int,
    categorical: int,
    embedding_dim: int,
    *,
    rank: int,
    crossings: int = 3,
    deep: tuple[int, ...] = (256, 64),
) -> keras.Model:
    """Builds the model.

    Args:
        numeric: Number of numeric columns.
        categorical: Number of categorical columns.
        embedding_dim: Width of an embedding row.
        rank: Of the crossing layers' matrices.
        crossings: Number of crossing layers.
        deep: Widths of the deep network.

    Returns:
        A model (dense [B, numeric], embedded [B, categorical, dim]) -> logit [B, 1].
    """
    layers = keras.layers
    dense = keras.Input((numeric,), name="features")
    embedded = keras.Input((categorical, embedding_dim), name="ids")
    x_0 = layers.Concatenate(name="x_0")([dense, layers.Flatten(name="flat_ids")(embedded)])
    crossed = x_0
    for i in range(crossings):
        # x_{l+1} = x_0 * (U V x_l + b) + x_l
        low = layers.Dense(rank, use_bias=False, name=f"cross_{i}_v")(crossed)
        high = layers.Dense(x_0.shape[1], name=f"cross_{i}_u")(low)
        product = layers.Multiply(name=f"cross_{i}_product")([x_0, high])
        crossed = layers.Add(name=f"cross_{i}")([product, crossed])
    hidden = x_0
    for i, width in enumerate(deep):
        hidden = layers.Dense(width, activation="relu", name=f"deep_{i}")(hidden)
    joined = layers.Concatenate(name="joined")([crossed, hidden])
    return keras.Model([dense, embedded], layers.Dense(1, name="logit")(joined))


def main() -> None:
    """Prints the section."""
    parser = argparse.ArgumentParser(description="Print DCN v2 as a contract's [model] section.")
    parser.add_argument("--numeric", type=int, default=13, help="numeric columns")
    parser.add_argument("--categorical", type=int, default=26, help="categorical columns")
    parser.add_argument("--dim", type=int, default=16, help="width of an embedding row")
    parser.add_argument("--rank", type=int, default=32, help="of the crossing layers")
    options = parser.parse_args()
    model = dcn_v2(options.numeric, options.categorical, options.dim, rank=options.rank)
    print(coterie.describe_model(model).to_toml())


if __name__ == "__main__":
    main()
