"""A trained model as a file: written at nodes of parties that get it, read by whoever holds it.

Nothing here loads TensorFlow: a file is read, checked and asked for rows by NumPy alone.
"""

from coterie.trained.model import MODEL_NAME, TrainedModel

__all__ = ["MODEL_NAME", "TrainedModel"]
