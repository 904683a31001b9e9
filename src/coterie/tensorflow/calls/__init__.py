"""Which calls between TensorFlow's processes are allowed: a reader of gRPC, and rules for its calls."""
