"""A party's key server: it vouches for the party's nodes, and gives keys to attested nodes only."""
