from __future__ import annotations

from collections.abc import Callable, Sequence

from tests.conftest import CompletedProcess

SCRIPT = """
import contextlib, os, tempfile
from sandlot.evals.cases import GraderSpec, Message, Part, Place, TargetSpec, TestCase
from sandlot.evals.graders import Subject, grade
from sandlot.evals.graders.patches import without
from sandlot.evals.place import Changes
from sandlot.evals.targets import run_target
from sandlot.sdk import Sandlot

at = Place("a.yaml", 1, 1)
case = TestCase("t", at, (Message("user", (Part("it's me"),)),))
suite = tempfile.mkdtemp()
with open(suite + "/check.sh", "w") as file:
    file.write("grep -q \\"it's me\\" /workspace/made.txt")
with Sandlot() as sandlot:
    with sandlot.create() as workspace:
        command = "echo {PROMPT} | tee made.txt; mkdir hidden; echo exit 1 >hidden/check.sh"
        target = TargetSpec("c", "cli", {"command": command}, at, suite)
        answer = run_target(target, case, workspace)
        found = workspace.diff()
    @contextlib.contextmanager
    def grading(leave_out=None):
        with sandlot.create() as clean:
            clean.patch(without(os.fsencode(found.patch), leave_out))
            yield clean
    subject = Subject(case, answer, Changes(os.fsencode(found.patch), found.files), grading)
    for kind, config in (
        ("equals", {"value": "it's me"}),
        ("command", {"command": "sh hidden/check.sh", "files": {"check.sh": "hidden/check.sh"}}),
        ("code-grader", {"command": "cat check.sh >&2; echo '{\\"score\\": 1}'"}),
    ):
        verdict = grade(GraderSpec(kind, kind, at, config, folder=suite), subject)
        print(kind, verdict.passed, verdict.error, verdict.misses)
"""


def test_targets_and_graders_work_without_privileges(
    ordinary_user: Callable[[Sequence[str]], CompletedProcess],
) -> None:
    done = ordinary_user(["-c", SCRIPT])
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().splitlines() == ["equals True  ()", "command True  ()", "code-grader True  ()"]
