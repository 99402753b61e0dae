"""docs/use-cases/review-eval.md: review a change against a checklist, with a proof for every point."""

from __future__ import annotations

import re

from sandlot.modes import StartupMode
from smokes.hands import Hands
from smokes.scene import Scene, commit, contents, git
from smokes.story import Story, Telling, expect

__all__ = ["STORY"]

CHANGE = '''\
"""The part of a web address that a title becomes."""

import re

_WORDS = re.compile("[a-z0-9]+")


def slug(title):
    """Lower case, words with hyphens between them, accents gone; links to old articles depend on it."""
    return "-".join(_WORDS.findall(title.lower()))
'''
TEST = "python3 -B -m unittest -q"
SLUGS = (
    "python3 -B -c 'from slugs import slug; [print(slug(line.strip())) for line in open(\"/workspace/titles.txt\")]'"
)


def play(tell: Telling, scene: Scene, hands: Hands) -> None:
    """A branch makes slugs faster, and its tests pass."""
    git(scene.project, "checkout", "-q", "-b", "faster")
    (scene.project / "slugs.py").write_text(CHANGE)
    commit(scene.project, "Faster slugs")
    git(scene.project, "checkout", "-q", "main")
    before = contents(scene.project)
    verdicts: dict[int, str] = {}

    tell.step("Make a workspace of the change")
    made = hands.create("review", labels={"branch": "faster"}, ref="faster")
    tell.note(f"{made.id}, {made.isolation} isolation by {made.runtime}")

    tell.step("Read the checklist and the change")
    checklist = re.findall(r"^(\d)\. (.*)$", hands.read("review", "CHECKLIST.md"), re.MULTILINE)
    expect(len(checklist) == 5, "the checklist can be read", checklist)
    expect("_WORDS" in hands.read("review", "slugs.py"), "the workspace holds the branch")
    changed = hands.exec("review", "git diff --stat main")
    expect("slugs.py" in changed.output and "1 file changed" in changed.output, "git shows the change", changed)
    verdicts[4] = "passed: git diff --stat main names slugs.py alone"
    tell.note(changed.output.strip().splitlines()[-1].strip())

    tell.step("Open a shell that keeps its state")
    hands.shell_open("review", "work")
    checkout = "OLD=/tmp/old; mkdir $OLD && git show main:slugs.py > $OLD/slugs.py; cd $OLD"
    hands.shell_run("review", "work", f"{checkout}; {_SAY}", "said 42")
    kept = hands.shell_run("review", "work", f"echo folder $PWD variable $OLD; {_SAY}", "said 42")
    expect("folder /tmp/old variable /tmp/old" in _joined(kept), "the shell kept its folder and variable", kept)
    old = hands.exec("review", f"cd /tmp/old && {SLUGS}")
    expect("creme-brulee-for-beginners" in old.output, "the old version runs beside the new one", old)
    tell.note("the version before the change is in /tmp/old")

    tell.step("Save the state before an experiment")
    hands.snapshot("review", "before")

    tell.step("Experiment: break the changed code")
    passed = hands.exec("review", TEST)
    expect(passed.exit_code == 0, "the tests pass", passed)
    verdicts[1] = f"passed: {TEST}"
    broken = hands.exec("review", f"sed -i 's/a-z0-9/a-z/' slugs.py && grep -c '\\[a-z\\]+' slugs.py && {TEST}")
    expect(broken.exit_code == 0, "the tests pass although digits are lost now: nobody tests them", broken)
    verdicts[2] = "failed: with digits lost from every slug the tests still pass"
    expect('-_WORDS = re.compile("[a-z0-9]+")' in hands.diff("review", to="before"), "the diff shows the experiment")
    tell.note(verdicts[2])

    tell.step("Go back to the saved state")
    hands.reset("review", "before")
    expect("[a-z0-9]+" in hands.read("review", "slugs.py"), "the experiment is gone")
    expect(not hands.diff("review"), "nothing differs from the change under review")
    expect(hands.exec("review", "test ! -e /tmp/old").exit_code == 0, "what was in /tmp is gone")

    tell.step("Go through the checklist, with a proof for each point")
    hands.exec("review", "mkdir /tmp/old && git show main:slugs.py > /tmp/old/slugs.py")
    compared = hands.exec("review", f"(cd /tmp/old && {SLUGS}) > /tmp/a; {SLUGS} > /tmp/b; diff /tmp/a /tmp/b")
    expect(compared.exit_code == 1, "links change", compared)
    expect("> cr-me-br-l-e-for-beginners" in compared.output, "an accented title has another slug", compared)
    verdicts[3] = "failed: creme-brulee-for-beginners becomes cr-me-br-l-e-for-beginners"
    verdicts[5] = "not checked: a shared machine says little about speed"
    for number, point in checklist:
        tell.note(f"{number}. {point} {verdicts[int(number)]}")

    tell.step("See that the mode cannot edit")
    for tool in ("file_write", "patch_apply", "service_start", "workspace_sync_push"):
        refusal = hands.refused(tool, workspace="review")
        expect("review-eval does not show" in refusal, f"{tool} is refused and the mode named", refusal)
    expect(contents(scene.project) == before, "the project is untouched")
    tell.note(refusal.splitlines()[0])

    tell.step("Run the project's evals on the base and on the change")
    base = hands.eval_run("evals")
    expect((base.passed, base.total) == (3, 3), "the base passes", base)
    git(scene.project, "checkout", "-q", "faster")
    change = hands.eval_run("evals")
    git(scene.project, "checkout", "-q", "main")
    expect((change.passed, change.total) == (2, 3), "the change does not", change)
    regressed = hands.eval_regressed(base.run, change.run)
    expect(regressed == ["slugs/accents"], "the comparison names the test", regressed)
    wrong = hands.eval_answer(change.run, "accents")
    expect(wrong == "cr-me-br-l-e-for-beginners", "the answer is kept", wrong)
    expect(not git(scene.project, "status", "--porcelain"), "git sees nothing new: runs are hidden from it")
    tell.note(f"{regressed[0]} regressed: {wrong}")

    tell.step("Hand over the proof")
    summary = hands.summary("review")
    expect("[exit 1] /bin/sh -c '(cd /tmp/old" in summary, "the summary holds the proof", summary)
    expect("files changed: 0" in summary, "and that the review has changed nothing", summary)
    history = hands.history("review")
    expect("sed -i" in history, "the history holds the experiment, although it was undone", history)

    tell.step("Delete the workspace")
    hands.delete("review")
    expect(not hands.list(), "no workspace is left", hands.list())


_SAY = "echo said $((6 * 7))"
"""What is typed is echoed; only what the shell makes of it says 42."""


def _joined(text: str) -> str:
    """What a terminal has broken into lines of 80 columns."""
    return text.replace("\n", "")


STORY = Story("review-eval", StartupMode.REVIEW_EVAL, "slugs", play)
