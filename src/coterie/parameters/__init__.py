"""Parameters of a model: initial values, who holds which rows, the digest, and the files of a trained model.

Nothing here loads TensorFlow: a model file is read, checked and asked for rows by NumPy alone.
"""
