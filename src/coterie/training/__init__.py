"""Code of workers and chief: client of the parameter server, steps, evaluation, downloads."""
