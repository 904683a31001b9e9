"""Files of a trained model and of its optimizers' state: written at nodes, read by whoever holds them.

Nothing here loads TensorFlow: a model file is read, checked and asked for rows by NumPy alone.
"""
