"""Durations as people write them: 90s, 15m, 1h30m."""

UNITS = {"h": 3600, "m": 60, "s": 1}


def parse(text):
    """Seconds of a duration. Raises ValueError."""
    total = 0
    number = ""
    for char in text:
        if char.isdigit():
            number += char
        elif char in UNITS and number:
            total = int(number) * UNITS[char]
            number = ""
        else:
            raise ValueError(f"{text!r} is not a duration")
    if number or not text:
        raise ValueError(f"{text!r} is not a duration")
    return total
