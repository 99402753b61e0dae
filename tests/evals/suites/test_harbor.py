"""Harbor task folders: the simple ones are run as they are meant, all others are refused with the reason."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from sandlot.errors import SuiteInvalid
from sandlot.evals.cases import HookName, Suite
from sandlot.evals.load import load_suites
from tests.evals.suites.conftest import Suites

DOCKERFILE = """\
FROM ubuntu:24.04
WORKDIR /app
ENV FLAVOUR="sweet one" DEBIAN_FRONTEND=noninteractive
RUN apt-get update && apt-get install -y --no-install-recommends bash \\
    && rm -rf /var/lib/apt/lists/*
COPY seed /app/seed
COPY note.txt .
RUN echo "$FLAVOUR" > /app/made.txt
"""
TEST_SH = """\
#!/bin/bash
cd /app
if grep -q hi /app/hello.txt && [ "$(cat made.txt)" = "sweet one" ] && [ -f seed/deep/x ] && [ -f note.txt ] \\
    && [ -z "$(ls /app/solution /app/tests 2>/dev/null)" ] && bash /tests/more.sh; then
  echo 1 > /logs/verifier/reward.txt
else
  echo 0 > /logs/verifier/reward.txt
fi
"""


class Task:
    """A task that works, to be spoiled."""

    def __init__(self, suites: Suites) -> None:
        self.suites = suites
        self.toml('version = "1.0"\n[task]\nname = "org/hello"\nkeywords = ["easy"]\n[agent]\ntimeout_sec = 60.0\n')
        suites.write("tasks/hello/instruction.md", "Write hi to /app/hello.txt, not to /application.\n")
        self.dockerfile(DOCKERFILE)
        suites.write("tasks/hello/environment/seed/deep/x", "x")
        suites.write("tasks/hello/environment/note.txt", "note")
        suites.write("tasks/hello/solution/solve.sh", "echo hi > /app/hello.txt\n")
        suites.write("tasks/hello/tests/test.sh", TEST_SH)
        suites.write("tasks/hello/tests/more.sh", "test -d /app && test -d /tests\n")

    def toml(self, text: str) -> None:
        self.suites.write("tasks/hello/task.toml", text)

    def dockerfile(self, text: str) -> None:
        self.suites.write("tasks/hello/environment/Dockerfile", text)

    def load(self) -> Suite:
        (suite,) = load_suites(["tasks"], environ={})
        return suite

    def refused(self) -> str:
        with pytest.raises(SuiteInvalid) as caught:
            self.load()
        return caught.value.message


@pytest.fixture
def task(suites: Suites) -> Task:
    return Task(suites)


def test_a_task_is_a_suite_of_one_test(task: Task) -> None:
    suite = task.load()
    (test,) = suite.tests
    assert (suite.name, test.id, test.tags, test.timeout_s) == ("org/hello", "hello", ("easy",), 60)
    assert test.prompt == "Write hi to /workspace/hello.txt, not to /application.\n"
    assert [grader.type for grader in test.graders] == ["tests"]
    assert suite.execution.threshold == 1.0


def test_solution_and_tests_are_not_where_the_hook_looks(task: Task) -> None:
    plan = task.load().tests[0].workspace
    hook = plan.hooks[HookName.BEFORE_ALL]
    assert Path(hook.folder).name == Path(hook.cwd).name == "environment"
    assert plan.template is None


def test_a_task_runs_and_its_reward_is_the_verdict(task: Task) -> None:
    task.suites.write(
        ".sandlot/targets.yaml",
        "targets:\n"
        "  - {name: good, kind: mock, files: {hello.txt: hi}}\n"
        '  - {name: sweet, kind: cli, command: \'test "$FLAVOUR" = "sweet one" && echo hi > hello.txt\'}\n'
        "  - {name: bad, kind: mock, files: {hello.txt: ho}}\n"
        "  - {name: cheat, kind: mock, files: {hello.txt: ho, tests/test.sh: exit 0, reward.txt: '1'}}\n",
    )
    words = [word for name in ("good", "sweet", "bad", "cheat") for word in ("--target", name)]
    ran = task.suites.run("run", "tasks", *words, "--json")
    assert ran.returncode == 1, ran
    report = json.loads(task.suites.run("report", "latest", "--format", "json").stdout)
    outcomes = {each["trial"]["target"]: each["outcome"] for each in trials(report)}
    assert outcomes == {"good": "pass", "sweet": "pass", "bad": "fail", "cheat": "fail"}, report


def trials(report: object) -> list[dict[str, Any]]:
    """Every mapping in it that is the result of a trial."""
    if isinstance(report, list):
        return [found for each in report for found in trials(each)]
    if not isinstance(report, dict):
        return []
    if isinstance(report.get("trial"), dict) and "outcome" in report:
        return [report]
    return [found for each in report.values() for found in trials(each)]


@pytest.mark.parametrize(
    ("dockerfile", "message"),
    [
        ("FROM alpine:3\nWORKDIR /app\n", "1:1: the image 'alpine:3' is not what this machine has"),
        ("FROM ghcr.io/x/y:z\nWORKDIR /app\n", "is not what this machine has"),
        ("FROM python:3.2-slim\nWORKDIR /app\n", "no Python 3.2"),
        ("FROM ubuntu AS build\nWORKDIR /app\n", "several stages"),
        ("FROM ubuntu\n", "no WORKDIR"),
        ("FROM ubuntu\nWORKDIR /app\nWORKDIR /other\n", "3:1: WORKDIR /other is not run"),
        ("FROM ghcr.io/somebody/python:3.11\nWORKDIR /app\n", "is not what this machine has"),
        ("FROM ubuntu\nWORKDIR /app\nFROM debian\n", "3:1: builds of several stages"),
        ("WORKDIR /app\nFROM ubuntu\n", "it does not begin with FROM"),
        ("", "it does not begin with FROM"),
        ("FROM ubuntu\nWORKDIR /app\nENV PATH /x:$PATH\n", "3:1: ENV PATH cannot be set"),
        ("FROM ubuntu\nWORKDIR /app\nENV A='x\n", "3:1: ENV cannot be read"),
        ('FROM ubuntu\nWORKDIR /app\nRUN ["a",\n', "3:1: RUN cannot be read"),
        ('FROM ubuntu\nWORKDIR /app\nCOPY ["a", 3]\n', "3:1: COPY cannot be read"),
        ('FROM ubuntu\nWORKDIR /app\nCOPY "a\n', "3:1: COPY cannot be read"),
        ("FROM ubuntu\nWORKDIR /app\nSHELL {}\n", "3:1: this shell is not run"),
        ("FROM ubuntu\nWORKDIR /app\nUSER nobody\n", "3:1: USER is not run"),
        ("FROM ubuntu\nWORKDIR /app\nENTRYPOINT x\n", "3:1: ENTRYPOINT is not run"),
        ("FROM ubuntu\nWORKDIR /app\nENV PATH=/x\n", "3:1: ENV PATH cannot be set"),
        ("FROM ubuntu\nWORKDIR /app\nCOPY note.txt /etc/x\n", "leaves the folder of the task"),
        ("FROM ubuntu\nWORKDIR /app\nCOPY ../tests .\n", "is not run"),
        ("FROM ubuntu\nWORKDIR /app\nCOPY none .\n", "there is no such file"),
        ("FROM ubuntu\nWORKDIR /app\nCOPY --from=x a b\n", "with options is not run"),
        ("FROM ubuntu\nWORKDIR /app\nADD https://example.org/x .\n", "is not run"),
        ("FROM ubuntu\nWORKDIR /app\nRUN apt-get install -y no-such-package-here\n", "are not on this machine"),
        ("FROM ubuntu\nWORKDIR /app\nRUN pip install flask\n", "3:1: RUN pip install needs a network"),
        ("FROM ubuntu\nWORKDIR /app\nRUN cd x && \\\n  curl -o y https://example.org\n", "3:1: RUN curl needs"),
        ("FROM ubuntu\nWORKDIR /app\nRUN --mount=type=cache x\n", "RUN with options"),
    ],
)
def test_a_dockerfile_that_needs_an_image_is_refused(task: Task, dockerfile: str, message: str) -> None:
    task.dockerfile(dockerfile)
    assert message in task.refused()


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("[[steps]]\nname = 'a'\n", "steps: tasks of several steps are not run"),
        ("[environment]\nos = 'windows'\n", "only linux is run"),
        ("[environment]\ngpus = 1\n", "tasks that need GPUs are not run"),
        ("[environment]\nhealthcheck = {command = 'x'}\n", "whose environment is a service"),
        ("[verifier]\nenvironment_mode = 'separate'\n", "in an image of their own"),
        ("[environment]\nenv = {KEY = '${HOME}'}\n", "KEY would put a variable of this machine into the workspace"),
        ("[environment]\nenv = {PATH = '/x'}\n", "environment.env: PATH cannot be set"),
        ("[environment]\nenv = {A = ['x']}\n", "environment.env is not a table of texts"),
        ("[environment]\nallowed_hosts = ['pypi.org']\n", "tasks that name hosts to reach are not run"),
        ("[environment]\nworkdir = '/other'\n", "2:1: WORKDIR /app is not run"),
        ("[environment]\nworkdirr = '/other'\n", "unknown field environment.workdirr"),
        ("[agent]\ntimeout_sec = 'soon'\n", "agent.timeout_sec is no number of seconds above 0"),
        ("[agent]\ntimeout_sec = nan\n", "agent.timeout_sec is no number of seconds above 0"),
        ("agent = 3\n", "agent is not a table"),
        ("[task]\nkeywords = 'easy'\n", "task.keywords is not a list of texts"),
        ("schema_version = '2.0'\n", "version '2.0' of the format is not known"),
        ("[agent]\nuser = 'x'\n", "agents as another user"),
        ("= 3\n", "no valid TOML"),
    ],
)
def test_a_task_that_would_be_something_else_here_is_refused(task: Task, toml: str, message: str) -> None:
    task.toml(toml)
    assert message in task.refused()


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("environment/docker-compose.yaml", "tasks of several services are not run"),
        ("tests/test.sh", "these tests fetch what they need"),
    ],
)
def test_files_that_ask_for_more_than_there_is_are_refused(task: Task, file: str, message: str) -> None:
    task.suites.write(f"tasks/hello/{file}", "curl -LsSf https://example.org/install.sh | sh\n")
    assert message in task.refused()


@pytest.mark.parametrize("file", ["tests/test.sh", "environment/Dockerfile"])
def test_a_task_that_lacks_something_is_refused(task: Task, file: str) -> None:
    (task.suites.folder / "tasks/hello" / file).unlink()
    assert f"there is no {file}" in task.refused()


def reward_of(task: Task, test_sh: str, **environ: str) -> tuple[str, float | None, str]:
    """Outcome, score and reason of a run with that test.sh."""
    task.suites.write("tasks/hello/tests/test.sh", test_sh)
    task.suites.write(".sandlot/targets.yaml", "targets:\n  - {name: any, kind: mock, files: {hello.txt: hi}}\n")
    task.suites.run("run", "tasks", "--target", "any", "--json", environ=environ)
    (found,) = trials(json.loads(task.suites.run("report", "latest", "--format", "json").stdout))
    return found["outcome"], found["score"], json.dumps(found)


LOGS = "mkdir -p /logs/verifier; cd /logs/verifier; "


REWARDS = {
    "echo 0.25 > reward.txt": ("fail", 0.25),
    "echo 0.99 > reward.txt": ("fail", 0.99),
    'echo \'{"reward": 1.0, "speed": 0.3}\' > reward.json; exit 3': ("pass", 1.0),
    "echo '{\"reward\": 0.5}' > reward.json": ("fail", 0.5),
    "echo '{\"reward\": 7}' > reward.json": ("fail", 0.0),
    "echo '{\"speed\": 1}' > reward.json": ("fail", 0.0),
    "echo nan > reward.txt": ("fail", 0.0),
    "true": ("fail", 0.0),
    "echo 1 > reward.txt; kill -9 $$": ("fail", 0.0),
}


def test_a_reward_is_the_score_and_only_all_of_it_passes(task: Task) -> None:
    shutil.rmtree(task.suites.folder / "tasks")
    for number, script in enumerate(REWARDS):
        folder = f"tasks/t{number}"
        task.suites.write(f"{folder}/task.toml", "")
        task.suites.write(f"{folder}/instruction.md", "Do it.\n")
        task.suites.write(f"{folder}/environment/Dockerfile", "FROM ubuntu\nWORKDIR /app\n")
        task.suites.write(f"{folder}/tests/test.sh", LOGS + script)
    task.suites.write(".sandlot/targets.yaml", "targets:\n  - {name: any, kind: mock, files: {hello.txt: hi}}\n")
    task.suites.run("run", "tasks", "--json")
    found = trials(json.loads(task.suites.run("report", "latest", "--format", "json").stdout))
    by_test = {each["trial"]["test"]: (each["outcome"], each["score"]) for each in found}
    assert [by_test[f"t{number}"] for number in range(len(REWARDS))] == list(REWARDS.values())


def test_a_task_that_names_its_folder_needs_no_workdir_and_its_variables_are_set(task: Task) -> None:
    task.toml("[environment]\nworkdir = '/app'\nenv = {COLOUR = 'green'}\n")
    task.dockerfile("FROM docker.io/library/ubuntu\nRUN mkdir -p /app/a && echo $COLOUR > /app/a/b\nEXPOSE 80\n")
    check = 'test "$(cat /app/a/b) $COLOUR" = "green green" && echo 1 > reward.txt'
    assert reward_of(task, LOGS + check)[0] == "pass"


def test_variables_for_the_tests_are_looked_up_when_they_run_and_kept_out_of_what_is_kept(
    task: Task,
) -> None:
    task.toml("[verifier]\nenv = {KEY = '${SURELY_NOT_SET}', OTHER = '${SURELY_NOT_SET:-fallback}'}\n")
    script = LOGS + 'echo "got $KEY"; [ "$KEY$OTHER" = 0123456789abcdef0123456789abcdef ] && echo 1 > reward.txt'
    outcome, _, found = reward_of(task, script)  # nobody was asked for it before
    assert outcome == "error"
    assert "the variable SURELY_NOT_SET is not set" in found
    outcome, _, found = reward_of(task, script, SURELY_NOT_SET="0123456789abcdef")
    assert outcome == "pass"
    assert "got [KEY]" in found
    assert "0123456789abcdef" not in found
