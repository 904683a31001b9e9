"""Architectures: DLRM, and Keras models that a contract describes. Only ``dlrm``, ``embedding``, ``keras_model`` and ``backend`` load TensorFlow."""
