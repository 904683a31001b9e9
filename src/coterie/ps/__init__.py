"""The parameter server: protocol, table, optimizers, aggregation, checkpoints, service and client.

No TensorFlow here: what holds everybody's gradients in clear is kept small and light.
"""
