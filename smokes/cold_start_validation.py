"""docs/use-cases/cold-start-validation.md: does a fresh checkout install, test and run?"""

from __future__ import annotations

import json
import re

from sandlot.modes import StartupMode
from smokes.hands import Hands
from smokes.scene import Scene, contents
from smokes.story import Story, Telling, expect

__all__ = ["STORY"]

_COMMANDS = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROBE = (
    "python3 -c \"import urllib.request as u; print(u.urlopen('http://127.0.0.1:8000{}', timeout=10).read().decode())\""
)


def play(tell: Telling, scene: Scene, hands: Hands) -> None:
    """The author has a file and an edit that nobody committed; a step of the README needs that file."""
    (scene.project / "holidays.csv").write_text("title,author\nThe Summer Book,Tove Jansson\n")
    server = scene.project / "shelf" / "__main__.py"
    server.write_text(server.read_text().replace("shelf 1.0", "shelf 2.0 (work in progress)"))
    before = contents(scene.project)

    tell.step("Make a workspace of what is committed")
    made = hands.create("newcomer", labels={"check": "cold-start"})
    tell.note(f"{made.id}, {made.isolation} isolation by {made.runtime}")

    tell.step("See what a newcomer gets")
    files = hands.files("newcomer")
    expect("README.md" in files and "books.csv" in files, "the committed files are there", files)
    expect("holidays.csv" not in files and "shelf.db" not in files, "nothing else is", files)
    expect("work in progress" not in hands.read("newcomer", "shelf/__main__.py"), "edits are not there either")
    setup, start, more = (block.splitlines() for block in _COMMANDS.findall(hands.read("newcomer", "README.md")))
    tell.note("the author's holidays.csv and his edit are not there")

    tell.step("Follow the README: install and test")
    for command in setup:
        done = hands.exec("newcomer", command)
        expect(done.exit_code == 0, f"{command!r} works", done)
        tell.note(f"ok: {command}")

    tell.step("Start it and wait until it is ready")
    service = hands.service_start("newcomer", "web", start[0], ready_http="http://127.0.0.1:8000/health")
    expect(service.state == "ready", "the service is ready", service)
    tell.note(f"ready: {start[0]}")

    tell.step("Probe it")
    expect(hands.exec("newcomer", PROBE.format("/health")).output.strip() == "shelf 1.0", "it is the committed version")
    books = hands.exec("newcomer", PROBE.format("/books"))
    expect(json.loads(books.output)[0] == "Kindred", "it answers with the books", books)
    tell.note(f"/books: {books.output.strip()}")

    tell.step("Read its logs")
    logs = hands.service_logs("newcomer", "web")
    expect("shelf is open" in logs and "GET /books" in logs, "the logs show the start and the probe", logs)
    tell.note("shelf is open; GET /books")

    tell.step("Follow the rest, and report what fails")
    failed = hands.exec("newcomer", more[0])
    expect(failed.exit_code == 1 and "holidays.csv" in failed.output, "the step fails for want of a file", failed)
    tell.note(f"exit code 1: {more[0]}")
    tell.note(failed.output.strip().splitlines()[-1])

    tell.step("See that it is reported, not repaired")
    for tool in ("file_write", "patch_apply", "workspace_sync_push"):
        refusal = hands.refused(tool, workspace="newcomer", path="holidays.csv", content="title,author\n")
        expect("cold-start does not show" in refusal, f"{tool} is refused and the mode named", refusal)
    expect("holidays.csv" not in hands.files("newcomer"), "the file is still not there")
    summary = hands.summary("newcomer")
    for line in ("[exit 1]", "did not succeed", "web [ready]"):
        expect(line in summary, f"the summary says {line!r}", summary)
    tell.note(refusal.splitlines()[0])

    tell.step("Stop it, start over, and see the same")
    expect(hands.service_stop("newcomer", "web").state == "stopped", "the service has stopped")
    hands.reset("newcomer")
    expect("shelf.db" not in hands.files("newcomer"), "a reset leaves a fresh checkout")
    expect(hands.exec("newcomer", setup[0]).exit_code == 0, "the first step works again")
    expect(hands.exec("newcomer", more[0]).exit_code == 1, "the last one fails again")
    expect(contents(scene.project) == before, "the author's project is untouched")
    tell.note("the same step fails in the same way")

    tell.step("Delete the workspace")
    hands.delete("newcomer")
    expect(not hands.list(), "no workspace is left", hands.list())


STORY = Story("cold-start-validation", StartupMode.COLD_START, "shelf", play)
