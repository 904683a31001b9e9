"""Going on from a trained model: a run whose contract has a ``[start]`` section.

One node gives the model's file, and its optimizers', to every parameter server shard before it joins;
each checks all of it against the digests in the contract, inside of its TEE, and keeps its own rows.
Nothing here loads TensorFlow.
"""
