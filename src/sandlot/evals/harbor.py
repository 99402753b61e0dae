"""Harbor (Terminal-Bench) task folders, the simple ones: task.toml, instruction.md, environment/ and tests/.

instruction.md is the input; COPY and RUN of the Dockerfile are a ``before_all`` hook whose folder is ``environment/``,
so that ``tests/`` and ``solution/`` are nowhere near the target; ``tests/test.sh`` is a command that grades, with the
reward it writes as its verdict. The container's folders are translated: its WORKDIR is /workspace, /tests and
/logs/verifier lie below /tmp. As everywhere in this format, code that the tests run could write the reward itself;
graders of type ``tests`` have no such channel.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sandlot.errors import SuiteInvalid
from sandlot.evals.cases import GraderSpec, Hook, HookName, Message, Part, Place, Suite, TestCase, WorkspacePlan
from sandlot.evals.dockerfile import Recipe, needs_network, read_dockerfile, translated
from sandlot.evals.problems import Problems
from sandlot.evals.resolve import WorkspaceOptions, resolve
from sandlot.evals.yaml_source import read_text, shown_path

__all__ = ["load_harbor"]

TESTS, LOGS = "/tmp/harbor/tests", "/tmp/harbor/logs"  # noqa: S108  inside the workspace
BUILD_S, VERIFIER_S = 600.0, 600.0
PROTECTED = ["conftest.py", "pytest.ini", "sitecustomize.py", "usercustomize.py", "*.pth"]
"""What a target leaves under these names would steer the tests; it is not brought along to them."""
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_REFUSED = (
    (("steps",), "tasks of several steps are not run"),
    (("environment", "mcp_servers"), "tasks with MCP servers of their own are not run"),
    (("environment", "healthcheck"), "tasks whose environment is a service are not run"),
    (("environment", "skills_dir"), "tasks with skills of their own are not run"),
    (("environment", "gpus"), "tasks that need GPUs are not run"),
    (("verifier", "environment"), "tests in an image of their own are not run"),
    (("verifier", "collect"), "tests that collect from other services are not run"),
    (("verifier", "user"), "tests as another user are not run"),
    (("agent", "user"), "agents as another user are not run"),
)


def load_harbor(
    folder: Path, options: WorkspaceOptions, environ: Mapping[str, str], problems: Problems
) -> Suite | None:
    """The task as a suite of one test. Raises SuiteInvalid with the reason when it cannot be run as it is meant."""
    file = folder / "task.toml"
    place = Place(shown_path(file))
    try:
        task: dict[str, Any] = tomllib.loads(read_text(file))
    except tomllib.TOMLDecodeError as error:
        raise SuiteInvalid(f"{place}: no valid TOML: {error}") from error
    _refuse(place, folder, task)
    recipe = read_dockerfile(folder / "environment" / "Dockerfile")
    script = read_text(folder / "tests" / "test.sh")
    if tool := needs_network(script):
        name = Place(shown_path(folder / "tests" / "test.sh"))
        raise SuiteInvalid(f"{name}: {tool}: these tests fetch what they need", hint="graders have no network")
    about, agent = _table(task, "task"), _table(task, "agent")
    plan = resolve([], options, place, problems)
    plan = replace(plan, env=recipe.env)
    hook = _hook(folder / "environment", recipe, _seconds(task, "environment", "build_timeout_sec", BUILD_S))
    if hook is not None:
        plan = _with_hook(plan, hook)
    text = translated(read_text(folder / "instruction.md"), recipe.workdir)
    keywords = [str(each) for each in about.get("keywords", [])]
    case = TestCase(
        folder.name,
        Place(shown_path(folder / "instruction.md"), 1, 1),
        (Message("user", (Part(text),)),),
        graders=(_grader(folder, task, recipe, environ),),
        metadata=_table(task, "metadata"),
        tags=tuple(keywords),
        timeout_s=float(agent["timeout_sec"]) if "timeout_sec" in agent else None,
        workspace=plan,
    )
    return Suite(str(about.get("name") or folder.name), str(file), (case,), str(about.get("description", "")))


def _table(task: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = task.get(name, {})
    return found if isinstance(found, dict) else {}


def _seconds(task: Mapping[str, Any], table: str, key: str, default: float) -> float:
    found = _table(task, table).get(key, default)
    return float(found) if isinstance(found, (int, float)) and found > 0 else default


def _refuse(place: Place, folder: Path, task: Mapping[str, Any]) -> None:
    """Everything that would make a trial here something else than the task."""
    for keys, why in _REFUSED:
        found: Any = task
        for key in keys:
            found = found.get(key) if isinstance(found, dict) else None
        if found:
            raise SuiteInvalid(f"{place}: {'.'.join(keys)}: {why}")
    if _table(task, "environment").get("os", "linux") != "linux":
        raise SuiteInvalid(f"{place}: environment.os: only linux is run")
    if _table(task, "verifier").get("environment_mode", "shared") != "shared":
        raise SuiteInvalid(f"{place}: verifier.environment_mode: tests in an image of their own are not run")
    for name in ("docker-compose.yaml", "docker-compose.yml"):
        if (folder / "environment" / name).exists():
            raise SuiteInvalid(f"{shown_path(folder / 'environment' / name)}: tasks of several services are not run")
    if not (folder / "environment" / "Dockerfile").is_file():
        raise SuiteInvalid(f"{place}: there is no environment/Dockerfile", hint="images are not pulled")
    if not (folder / "tests" / "test.sh").is_file():
        raise SuiteInvalid(f"{place}: there is no tests/test.sh, so nothing could grade it")


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


def _grader(folder: Path, task: Mapping[str, Any], recipe: Recipe, environ: Mapping[str, str]) -> GraderSpec:
    moved = (("/logs/verifier", LOGS), ("/tests", TESTS), (recipe.workdir, "/workspace"))
    # Twice, for matches that touch: the character between two of them belongs to the first.
    edits = " ".join(f"-e {shlex.quote(_edit(old, new))}" for old, new in moved for _ in (1, 2))
    script = "\n".join(
        (
            "set -e",
            f"mkdir -p {LOGS}",
            f"grep -rIlZ . {TESTS} | xargs -0 -r sed -E -i {edits}",
            "status=0",
            f"bash {TESTS}/test.sh || status=$?",
            # Killed from within: whoever did it may have written the reward, too.
            'if [ "$status" -gt 128 ]; then echo "the tests were killed" >&2; exit 1; fi',
            f"if [ -f {LOGS}/reward.txt ]; then reward=$(head -c 64 {LOGS}/reward.txt)",
            f"elif [ -f {LOGS}/reward.json ]; then",
            f"reward=$(head -c 4096 {LOGS}/reward.json | sed -nE "
            "'s/.*\"reward\"[[:space:]]*:[[:space:]]*([0-9.]+).*/\\1/p')",
            'else echo "the tests wrote no reward" >&2; exit 1; fi',
            'echo "reward: $reward"',
            "printf %s \"$reward\" | grep -Eq '^[[:space:]]*1(\\.0*)?[[:space:]]*$'",
        )
    )
    config: dict[str, Any] = {
        "command": ["/bin/bash", "-c", script],
        "files": {"tests": TESTS},
        "protect": list(PROTECTED),
        "timeout_s": _seconds(task, "verifier", "timeout_sec", VERIFIER_S),
    }
    place = Place(shown_path(folder / "tests" / "test.sh"), 1, 1)
    env = {**recipe.env, **_environment(place, _table(_table(task, "verifier"), "env"), environ)}
    if env:
        config["env"] = env
    return GraderSpec("command", "tests", place, config, folder=str(folder))


def _edit(old: str, new: str) -> str:
    """For sed: a folder of the container where it stands as a path of its own."""
    return r"s#(^|[^A-Za-z0-9_./-])" + old.replace(".", r"\.") + r"($|[^A-Za-z0-9_-])#\1" + new + r"\2#g"


def _environment(place: Place, written: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, str]:
    def value(match: re.Match[str]) -> str:
        if match[1] not in environ and match[2] is None:
            raise SuiteInvalid(f"{place}: verifier.env: the variable {match[1]} is not set")
        return environ.get(match[1], match[2] or "")

    return {name: _VARIABLE.sub(value, str(text)) for name, text in written.items()}
