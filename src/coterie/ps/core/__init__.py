"""The state machines of the parameter server, without I/O, locks, threads or clocks."""
