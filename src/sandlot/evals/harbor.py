"""Harbor (Terminal-Bench) task folders, the simple ones: task.toml, instruction.md, environment/ and tests/.

instruction.md is the input; COPY and RUN of the Dockerfile are a ``before_all`` hook whose folder is ``environment/``,
so that ``tests/`` and ``solution/`` are nowhere near the target; ``tests/test.sh`` is a grader of type ``tests``, and
the reward it writes is the score. A trial passes with the full reward of 1, as such a task is solved or not; a part of
it is kept as the score of a failure. The container's folders are translated: its WORKDIR is /workspace, /tests and
/logs/verifier lie below /tmp. As everywhere in this format, code that the tests run could write the reward itself;
reports of graders of type ``tests`` are harder to forge.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

from sandlot.errors import SuiteInvalid
from sandlot.evals.cases import (
    Execution,
    GraderSpec,
    Hook,
    HookName,
    Message,
    Part,
    Place,
    Suite,
    TestCase,
    WorkspacePlan,
)
from sandlot.evals.dockerfile import NOT_SET, Recipe, needs_network, read_dockerfile, translated
from sandlot.evals.harbor_task import Task, read_task
from sandlot.evals.problems import Problems
from sandlot.evals.resolve import WorkspaceOptions, resolve
from sandlot.evals.yaml_source import read_text, shown_path

__all__ = ["load_harbor"]

TESTS, LOGS = "/tmp/harbor/tests", "/tmp/harbor/logs"  # noqa: S108  inside the workspace
BUILD_S, VERIFIER_S = 600.0, 600.0
SOLVED = 1.0
"""The reward of a task that is solved."""
PROTECTED = (
    "conftest.py", "pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml", "sitecustomize.py", "usercustomize.py",
    "*.pth", "pytest.py", "pytest", "_pytest", "pluggy", "pluggy.py", "iniconfig", "iniconfig.py",
)  # fmt: skip
"""What a target leaves under these names would steer the tests, or be taken for their tools: it is not brought along
to them. Shorter than the usual list of graders of type ``tests``: a Makefile may be what a task is about."""


def load_harbor(folder: Path, options: WorkspaceOptions, problems: Problems) -> Suite:
    """The task as a suite of one test. Raises SuiteInvalid with the reason when it cannot be run as it is meant."""
    file = folder / "task.toml"
    place = Place(shown_path(file))
    try:
        task = read_task(place, folder, tomllib.loads(read_text(file)))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SuiteInvalid(f"{place}: no valid TOML: {error}") from error
    recipe = read_dockerfile(folder / "environment" / "Dockerfile", task.text("environment", "workdir"))
    recipe.env |= _environment(task)
    script = read_text(folder / "tests" / "test.sh")
    if tool := needs_network(script):
        name = Place(shown_path(folder / "tests" / "test.sh"))
        raise SuiteInvalid(f"{name}: {tool}: these tests fetch what they need", hint="graders have no network")
    plan = replace(resolve([], options, place, problems), env=recipe.env)
    hook = _hook(folder / "environment", recipe, task.seconds("environment", "build_timeout_sec") or BUILD_S)
    if hook is not None:
        plan = _with_hook(plan, hook)
    text = translated(read_text(folder / "instruction.md"), recipe.workdir)
    case = TestCase(
        folder.name,
        Place(shown_path(folder / "instruction.md"), 1, 1),
        (Message("user", (Part(text),)),),
        graders=(_grader(folder, task, recipe),),
        metadata=task.table("metadata"),
        tags=task.texts("task", "keywords"),
        timeout_s=task.seconds("agent", "timeout_sec"),
        workspace=plan,
    )
    return Suite(
        task.text("task", "name") or folder.name, str(file), (case,), task.text("task", "description"),
        execution=Execution(threshold=SOLVED),
    )  # fmt: skip


def _environment(task: Task) -> dict[str, str]:
    """The task's own variables, for the target, too. Raises SuiteInvalid."""
    found = task.words("environment", "env")
    for name, value in found.items():
        if name in NOT_SET:
            raise task.wrong(f"environment.env: {name} cannot be set in a workspace")
        if "${" in value:
            hint = "bind a key to its hosts as a secret of the target"
            raise task.wrong(f"environment.env: {name} would put a variable of this machine into the workspace", hint)
    return found


def _hook(environment: Path, recipe: Recipe, timeout_s: float) -> Hook | None:
    if not recipe.steps:
        return None
    lines = ["set -e", 'SRC="$PWD"', "cd /workspace", "umask 022"]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in recipe.env.items()]
    lines += [f"({step})" for step in recipe.steps]
    place = Place(shown_path(environment / "Dockerfile"), 1, 1)
    command = ("/bin/bash", "-c", "\n".join(lines))
    return Hook(HookName.BEFORE_ALL, command, timeout_s, str(environment), str(environment), place)


def _with_hook(plan: WorkspacePlan, hook: Hook) -> WorkspacePlan:
    provenance = {**plan.provenance, f"hooks.{hook.name}": str(hook.place)}
    return replace(plan, hooks={hook.name: hook}, provenance=provenance)


def _grader(folder: Path, task: Task, recipe: Recipe) -> GraderSpec:
    moved = (("/logs/verifier", LOGS), ("/tests", TESTS), (recipe.workdir, "/workspace"))
    # Twice, for matches that touch: the character between two of them belongs to the first.
    edits = " ".join(f"-e {shlex.quote(_edit(old, new))}" for old, new in moved for _ in (1, 2))
    lines = (
        "set -e",
        f"mkdir -p {LOGS}",
        f"grep -rIlZ . {TESTS} | xargs -0 -r sed -E -i {edits}",
        "status=0",
        f"bash {TESTS}/test.sh || status=$?",
        # The reward counts, whatever the exit code; unless they were killed, which is told.
        '[ "$status" -le 128 ] || exit "$status"',
    )
    config: dict[str, Any] = {
        "command": ["/bin/bash", "-c", "\n".join(lines)],
        "files": {"tests": TESTS},
        "protect": list(PROTECTED),
        "reward": [f"{LOGS}/reward.txt", f"{LOGS}/reward.json"],
        "timeout_s": task.seconds("verifier", "timeout_sec") or VERIFIER_S,
    }
    if recipe.env:
        config["env"] = recipe.env
    if of_host := task.words("verifier", "env"):
        config["env_of_host"] = of_host
    place = Place(shown_path(folder / "tests" / "test.sh"), 1, 1)
    return GraderSpec("tests", "tests", place, config, folder=str(folder))


def _edit(old: str, new: str) -> str:
    """For sed: a folder of the container where it stands as a path of its own."""
    return r"s#(^|[^A-Za-z0-9_./-])" + re.escape(old) + r"($|[^A-Za-z0-9_-])#\1" + new + r"\2#g"
