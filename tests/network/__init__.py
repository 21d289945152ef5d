"""Several real Tritons, each in a network of its own that can be cut, slowed or made to lose packets."""
