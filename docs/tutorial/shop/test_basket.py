"""Says what is wrong with the basket: `python3 -B test_basket.py`."""

import sys

from basket import total

CASES = [(0, 449), (15, 381), (100, 0)]

failed = 0
for percent, expected in CASES:
    paid = total([250, 199], percent)
    if paid != expected:
        print(f"FAIL: {percent} % off 449 is {paid}, expected {expected}")
        failed += 1
print(f"{len(CASES)} cases, {failed} failed")
sys.exit(1 if failed else 0)
