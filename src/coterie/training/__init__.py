"""What workers and the chief run: the client of the parameter server, steps, evaluation, model download."""
