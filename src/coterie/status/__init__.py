"""``coterie status``: a party's attested, read-only query of a running parameter server."""
