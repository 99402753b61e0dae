"""What things cost, in cents."""

COFFEE = 250
TEA = 220


def total(*prices):
    """What all of them cost together."""
    return sum(prices)
