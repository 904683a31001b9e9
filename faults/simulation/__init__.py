"""The server's core in a simulated world: workers, shards, network, disks, clock, all drawn from a seed."""
