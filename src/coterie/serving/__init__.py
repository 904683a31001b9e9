"""Uses a trained model: evaluates it, scores files, exports it for serving.

``scoring`` computes as workers do in evaluation, bit for bit; ``evaluation`` and ``prediction`` stream
files through it; ``layers`` holds the Keras layers that take raw cells, and ``export`` writes them.
Only ``layers`` and ``export`` load TensorFlow when they are imported.
"""
