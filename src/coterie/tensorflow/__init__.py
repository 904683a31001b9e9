"""Stock TensorFlow clusters over attested sockets: every byte of TensorFlow's gRPC inside mutual RA-TLS."""
