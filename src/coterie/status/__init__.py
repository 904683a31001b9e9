"""``coterie status``: a party looks at a running parameter server, attested and read-only."""
