"""What a fix has to do beyond the tests that the agent saw."""

from durations import parse

assert parse("1h1m1s") == 3661
assert parse("2m") == 120
for wrong in ("", "90", "h", "1h30", "x"):
    try:
        parse(wrong)
    except ValueError:
        continue
    raise SystemExit(f"{wrong!r} was taken")
