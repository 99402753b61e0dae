"""What ``benchmarks.evals`` measures, by inspect-ai: run by an interpreter that has it, never by sandlot's own.

``python -P inspect_task.py TREE TRIALS LOGS``: so many samples, one after the other; each has the tree copied into a
local sandbox (which isolates nothing), one command run there, and its output looked at by the scorer ``includes``.
"""

from __future__ import annotations

import os
import sys

from inspect_ai import Task, eval
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.scorer import includes
from inspect_ai.solver import Generate, Solver, TaskState, solver
from inspect_ai.util import sandbox

WORD = "measured"


@solver
def command() -> Solver:
    """Run the command that sandlot's target runs; no model is asked."""

    async def solve(state: TaskState, _generate: Generate) -> TaskState:
        done = await sandbox().exec(["sh", "-c", f"echo {WORD} >> made; echo {WORD}"])
        state.output.completion = done.stdout
        return state

    return solve


def main(tree: str, trials: int, logs: str) -> None:
    """Run it; fails unless every sample was scored as correct."""
    files = {
        os.path.relpath(os.path.join(folder, name), tree): os.path.join(folder, name)
        for folder, _, names in os.walk(tree)
        for name in names
    }
    samples = [Sample(input="go", target=WORD, files=files, id=number) for number in range(1, trials + 1)]
    task = Task(dataset=MemoryDataset(samples), solver=command(), scorer=includes(), sandbox="local")
    (log,) = eval(task, model="mockllm/model", display="none", log_dir=logs, max_samples=1)
    right = [sample for sample in log.samples or [] if sample.scores and sample.scores["includes"].value == "C"]
    assert log.status == "success", log.error
    assert len(right) == trials, f"{len(right)} of {trials} samples passed"


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
