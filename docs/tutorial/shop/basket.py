"""A basket of goods; prices are in cents."""


def total(prices, discount_percent=0):
    """What is to be paid, rounded down to a whole cent."""
    paid = sum(prices)
    return paid - paid * discount_percent / 100
