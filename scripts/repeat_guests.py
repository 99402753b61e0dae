"""Conformance suite and smokes in guests, again and again, half of the rounds beside four busy loops.

    python scripts/repeat_guests.py [ROUNDS]

What hangs or fails in one of many starts of a virtual machine shows here and nowhere else. A round takes two minutes,
beside the loops about six. Prints a line for each run, the whole output of one that fails, and exits with 1 then.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = 20
LOOPS = 4
LONGEST_S = 1800
RUNS = {
    "conformance": ["-m", "pytest", "-q", "-n", "0", "tests/runtimes/qemu/test_conformance.py"],
    "smokes": ["-m", "smokes", "all", "--runtime", "qemu"],
}


@contextlib.contextmanager
def busy(loops: int) -> Iterator[None]:
    """So many processes that do nothing but use a processor. They end with us, however that happens."""
    program = "import os\nparent = os.getppid()\nwhile os.getppid() == parent:\n    sum(range(100_000))\n"
    running = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(loops)]
    try:
        yield
    finally:
        for each in running:
            each.kill()
            each.wait()


def main(words: list[str]) -> int:
    rounds = int(words[0]) if words else ROUNDS
    failed = 0
    for number in range(1, rounds + 1):
        loops = LOOPS if number % 2 == 0 else 0
        for name, arguments in RUNS.items():
            begun = time.monotonic()
            with busy(loops):
                try:
                    done = subprocess.run(
                        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=LONGEST_S
                    )
                    good, output = done.returncode == 0, done.stdout + done.stderr
                except subprocess.TimeoutExpired as error:
                    good, output = False, f"{error}\n{error.output}"
            failed += not good
            last = (output.strip().splitlines() or [""])[-1]
            load = f"beside {loops} busy loops, " if loops else ""
            took = f"{time.monotonic() - begun:.0f} s, load {os.getloadavg()[0]:.1f}"
            print(f"round {number}: {name}: {'ok' if good else 'FAILED'}: {load}{took}: {last}", flush=True)
            if not good:
                print(output, flush=True)
    print(f"{2 * rounds - failed} of {2 * rounds} runs ok")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
