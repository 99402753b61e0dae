"""docs/use-cases/repro-fix-loop.md: reproduce a failure, fix it, prove the fix, hand it back."""

from __future__ import annotations

from sandlot.modes import StartupMode
from smokes.hands import Hands
from smokes.scene import Scene, contents, git
from smokes.story import Story, Telling, expect

__all__ = ["STORY"]

TEST = "python3 -B -m unittest -q"
PATCH = """\
--- a/durations.py
+++ b/durations.py
@@ -12,7 +12,7 @@ def parse(text):
         if char.isdigit():
             number += char
         elif char in UNITS and number:
-            total = int(number) * UNITS[char]
+            total += int(number) * UNITS[char]
             number = ""
         else:
             raise ValueError(f"{text!r} is not a duration")
"""


def play(tell: Telling, scene: Scene, hands: Hands) -> None:
    """An issue says: ``parse("1h30m")`` is 1800."""
    before = contents(scene.project)

    tell.step("Make a workspace for the issue")
    made = hands.create("issue-17", labels={"issue": "17"})
    expect(made.labels == {"issue": "17"}, "the workspace has its label", made)
    tell.note(f"{made.id}, {made.isolation} isolation by {made.runtime}")

    tell.step("Reproduce the failure")
    failure = hands.exec("issue-17", TEST)
    expect(failure.exit_code == 1, "the tests fail with exit code 1", failure)
    expect("test_units_add_up" in failure.output and "1800 != 5400" in failure.output, "as the issue says", failure)
    tell.note("exit code 1: 1800 != 5400")

    tell.step("Find the cause")
    found = hands.search("issue-17", r"UNITS\[")
    expect(list(found) == ["durations.py"], "the search finds the place", found)
    expect("total = int(number)" in hands.read("issue-17", "durations.py"), "the file shows the bug")
    tell.note("durations.py: the last unit wins, since total is replaced")

    tell.step("Patch it")
    hands.patch("issue-17", PATCH)
    expect("total += int(number)" in hands.read("issue-17", "durations.py"), "the patch is in the file")

    tell.step("Run the failing command again")
    fixed = hands.exec("issue-17", TEST)
    expect(fixed.exit_code == 0, "the tests pass", fixed)
    tell.note("exit code 0")

    tell.step("Prove it from a clean start")
    hands.reset("issue-17")
    expect("total = int(number)" in hands.read("issue-17", "durations.py"), "a reset brings the old file back")
    again = hands.exec("issue-17", TEST)
    expect(again.exit_code == 1, "the failure is back after a reset", again)
    hands.patch("issue-17", PATCH)
    proof = hands.exec("issue-17", TEST)
    expect(proof.exit_code == 0, "the patch alone makes the tests pass", proof)
    tell.note("after a reset: exit code 1, patched: exit code 0")

    tell.step("Read the diff and the summary")
    diff = hands.diff("issue-17")
    expect(diff.count("diff --git ") == 1, "the diff is of one file", diff)
    expect("+            total += int(number) * UNITS[char]" in diff, "the diff is the fix", diff)
    summary = hands.summary("issue-17")
    for line in (f"[exit 1] /bin/sh -c '{TEST}'", f"[ok] /bin/sh -c '{TEST}'", "modified durations.py (+1 -1)"):
        expect(line in summary, f"the summary says {line!r}", summary)
    tell.note("durations.py +1 -1; both runs are in the summary")

    tell.step("See that the mode stays small")
    for tool in ("service_start", "shell_open", "snapshot_create"):
        refusal = hands.refused(tool, workspace="issue-17")
        expect("repro-fix does not show" in refusal, f"{tool} is refused and the mode named", refusal)
    refusal = hands.refused("workspace_create", network="open")
    expect("repro-fix" in refusal and "network" in refusal, "a hidden argument is refused and the mode named", refusal)
    tell.note(refusal.splitlines()[0])

    tell.step("See that the project is untouched")
    expect(contents(scene.project) == before, "not one byte or mode of the project has changed")

    tell.step("Hand the fix back")
    clone = scene.clone()
    (scene.folder / "fix.patch").write_text(diff)
    git(clone, "apply", "--check", str(scene.folder / "fix.patch"))
    git(clone, "apply", str(scene.folder / "fix.patch"))
    with hands.another() as colleague:
        colleague.export("issue-17", "durations.py", str(scene.project / "durations.fixed.py"))
        if colleague.confined:
            for outside in (str(scene.home / "stolen.py"), "../stolen.py", ".git/hooks/pre-commit"):
                refusal = colleague.refused(
                    "workspace_export", workspace="issue-17", path="durations.py", destination=outside
                )
                tell.note(refusal.splitlines()[0])
    handed = (clone / "durations.py").read_text()
    expect((scene.project / "durations.fixed.py").read_text() == handed, "export and diff make the same file")
    status = git(scene.project, "status", "--porcelain")
    expect(status == "?? durations.fixed.py\n", "the export is all that is new in the project", status)
    expect(not (scene.home / "stolen.py").exists(), "nothing was exported elsewhere")
    tell.note("git apply takes the diff in a fresh clone")

    tell.step("Delete the workspace")
    hands.delete("issue-17")
    expect(not hands.list(), "no workspace is left", hands.list())


STORY = Story("repro-fix-loop", StartupMode.REPRO_FIX, "durations", play)
