"""A party's key server: vouches for the party's nodes and gives keys to attested nodes only."""
