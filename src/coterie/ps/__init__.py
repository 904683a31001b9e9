"""The parameter server: protocol, table, optimizers, aggregation, checkpoints, service and client.

It uses no TensorFlow: the code that holds all parties' gradients in the clear is kept small.
"""
