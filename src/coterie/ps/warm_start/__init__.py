"""Starting from a trained model: runs whose contract has a ``[start]`` section.

Before it joins, one node sends the model's file and its optimizers' to every parameter server
shard. Each shard checks all of it against the digests in the contract, inside of its TEE, and keeps
its own rows. Nothing here imports TensorFlow.
"""
