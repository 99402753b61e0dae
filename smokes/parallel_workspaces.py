"""docs/use-cases/parallel-workspaces.md: one workspace for each issue, at the same time, and none gets mixed up."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from sandlot.modes import StartupMode
from smokes.hands import Hands, Ran
from smokes.scene import Scene, contents, git
from smokes.story import Story, Telling, expect

__all__ = ["STORY"]

PRICES = {"issue-1": 260, "issue-2": 270, "issue-3": 280}
"""Each issue wants another price of coffee: the same line of the same file, in three ways."""
PATCH = """\
--- a/prices.py
+++ b/prices.py
@@ -3,2 +3,2 @@
-COFFEE = 250
+COFFEE = {}
 TEA = 220
"""


def play(tell: Telling, scene: Scene, hands: Hands) -> None:
    """Three issues, worked on side by side."""
    before = contents(scene.project)
    with ThreadPoolExecutor(len(PRICES)) as together:
        tell.step("Make one workspace for each issue")
        made = list(together.map(lambda name: hands.create(name, labels=_labels(name)), PRICES))
        expect(len({each.id for each in made}) == 3, "there are three", made)
        for each in made:
            tell.note(f"{each.name}: {each.id}, {dict(each.labels)}")

        tell.step("Change them at the same time")
        ran = dict(zip(PRICES, together.map(lambda name: _change(hands, name), PRICES), strict=True))
        for name, price in PRICES.items():
            expect(ran[name].exit_code == 0, f"{name} ran its check", ran[name])
            expect(ran[name].output.startswith(f"coffee {price},"), f"{name} saw its own price", ran[name])
            tell.note(f"{name}: {ran[name].output.strip()}")

    tell.step("See that their contents stay apart")
    for name, price in PRICES.items():
        own = f"notes-{name}.txt"
        files = hands.files(name)
        notes = [each for each in files if each.startswith("notes-")]
        expect(notes == [own], f"{name} has its own new file alone", files)
        expect(f"COFFEE = {price}" in hands.read(name, "prices.py"), f"{name} has its own price")
        diff = hands.diff(name)
        others = [other for other in PRICES if other != name and other in diff]
        expect(f"+COFFEE = {price}" in diff and own in diff and not others, f"the diff of {name} is its own", diff)
        (scene.folder / f"{name}.patch").write_text(diff)
        git(scene.clone(), "apply", str(scene.folder / f"{name}.patch"))
    expect(contents(scene.project) == before, "the project is untouched")

    tell.step("Find them again from another chat")
    with hands.another() as chat:
        found = chat.list()
        expect({each.name: dict(each.labels) for each in found} == {name: _labels(name) for name in PRICES},
               "names and labels are as they were given", found)  # fmt: skip
        only = chat.list(issue="2")
        expect([each.name for each in only] == ["issue-2"], "a label finds one of them", only)
        for name in ("issue-3", "issue-1", "issue-2"):  # the last one used is the first one listed
            chat.exec(name, "true")
            order = [each.name for each in chat.list()]
            expect(order[0] == name, f"{name}, just used, is listed first", order)
        expect(order == ["issue-2", "issue-1", "issue-3"], "the list is by latest activity", order)
        tell.note("by latest activity: " + ", ".join(order))

        tell.step("Hand one over")
        chat.update("issue-3", name="issue-3-ben", labels={"owner": "ben"})
    listed = {each.name: dict(each.labels) for each in hands.list()}
    expect(listed["issue-3-ben"] == {"issue": "3", "owner": "ben"}, "the new owner is on the label", listed)
    expect("issue-3" not in listed and listed["issue-1"] == _labels("issue-1"), "the others are as before", listed)
    expect([each.name for each in hands.list(owner="ben")] == ["issue-3-ben"], "Ben finds what is his", listed)
    expect("COFFEE = 280" in hands.read("issue-3-ben", "prices.py"), "its content came along")
    tell.note(f"issue-3-ben: {listed['issue-3-ben']}")

    tell.step("Start one over, and keep the others")
    hands.reset("issue-1")
    expect("COFFEE = 250" in hands.read("issue-1", "prices.py"), "issue-1 is as it began")
    expect("COFFEE = 270" in hands.read("issue-2", "prices.py"), "issue-2 is as it was left")

    tell.step("Delete one, and keep the others")
    hands.delete("issue-2")
    names = sorted(each.name for each in hands.list())
    expect(names == ["issue-1", "issue-3-ben"], "the other two are there", names)
    check = hands.exec("issue-3-ben", "python3 -B check.py")
    expect(check.output.startswith("coffee 280,"), "and work", check)

    tell.step("See that the mode is the same for all of them")
    refusal = hands.refused("workspace_fork", workspace="issue-1")
    expect("repro-fix does not show" in refusal, "what the mode does not show is refused and the mode named", refusal)
    tell.note(refusal.splitlines()[0])

    tell.step("Delete the rest")
    for name in ("issue-1", "issue-3-ben"):
        hands.delete(name)
    expect(not hands.list(), "no workspace is left", hands.list())


def _labels(name: str) -> dict[str, str]:
    return {"issue": name.removeprefix("issue-"), "owner": "ana"}


def _change(hands: Hands, name: str) -> Ran:
    hands.patch(name, PATCH.format(PRICES[name]))
    return hands.exec(name, f"echo about {name} > notes-{name}.txt; sleep 0.5; python3 -B check.py")


STORY = Story("parallel-workspaces", StartupMode.REPRO_FIX, "menu", play)
