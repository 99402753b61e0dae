"""docs/use-cases/untrusted-inspection.md: run a hostile package where it can take nothing and reach nobody."""

from __future__ import annotations

import json
import os
import socket
import tarfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sandlot.modes import StartupMode
from smokes.hands import Hands
from smokes.scene import CANARY, PROJECTS, Scene, contents, processes_naming
from smokes.story import Story, Telling, expect

__all__ = ["STORY"]

ARCHIVE = "downloads/tinted-1.2.tar.gz"


def play(tell: Telling, scene: Scene, hands: Hands) -> None:
    """Somebody wants to use ``tinted``; its setup is hostile, and knows this very machine."""
    mark = f"{CANARY}-mark"
    sleep = f"86399.{os.getpid()}{hands.via == 'sdk':d}"  # a command line that nobody else has
    system = [Path("/usr/local/bin/tinted"), Path("/etc/cron.d/tinted")]
    written = [scene.home / ".bashrc", scene.project / "README.md", *system]
    with _listener() as (listener, port):
        _pack(scene, {
            "mark": mark,
            "sleep": sleep,
            "read": [str(scene.key), str(scene.project / "README.md"), "/etc/shadow", "/proc/1/environ"],
            "write": [str(path) for path in written],
            "connect": [["127.0.0.1", port], [socket.gethostname(), port], ["192.0.2.1", 443]],
        })  # fmt: skip
        before = contents(scene.project), contents(scene.home)
        expect(not any(path.exists() for path in system), "this machine is clean", system)

        tell.step("Make a workspace from the archive")
        made = hands.create("tinted", source=ARCHIVE)
        expect(not (scene.project / "tinted").exists(), "the archive was not unpacked on the host")
        tell.note(f"{made.isolation} isolation by {made.runtime}, no network")

        tell.step("Read before anything runs")
        expect("setup.py" in hands.files("tinted"), "the files can be listed", hands.files("tinted"))
        suspicious = hands.search("tinted", r"socket|urlopen|environ|start_new_session")
        expect("setup.py" in suspicious, "a search finds what a setup should not need", suspicious)
        expect("urllib.request.urlopen(" in hands.read("tinted", "setup.py"), "the file can be read")
        tell.note("setup.py reads the environment and opens connections")

        tell.step("Run its setup")
        ran = hands.exec("tinted", "python3 -B setup.py")
        expect(ran.exit_code == 0, "it runs, and says that all is well", ran)
        expect("tinted 1.2 is set up" in ran.output, "its output is shown", ran)
        tell.note(ran.output.splitlines()[0])

        tell.step("See what it got")
        loot = json.loads(hands.read("tinted", "loot.json"))
        stolen = [what for what, got in loot.items() if CANARY in got]
        expect(not stolen, "no file, environment or process showed it the host's secrets", stolen)
        for path in (scene.key, "/etc/shadow"):
            expect(loot[f"read {path}"].startswith("failed: "), f"{path} could not be read", loot)
        tell.note(f"{sum(got.startswith('failed: ') for got in loot.values())} of {len(loot)} attempts failed")

        tell.step("See that it reached nobody")
        reached = [what for what, got in loot.items() if got == "connected"]
        expect(not reached and not _called(listener), "no connection was made", reached)
        for what in ("resolve", "fetch"):
            expect(loot[what].startswith("failed: "), f"{what} failed", loot)
        tell.note("the host's listener was not called, no name was resolved")

        tell.step("See what it changed")
        diff = hands.diff("tinted")
        for line in ("+++ b/tinted/_palette.py", "+from tinted import _palette", "+++ b/loot.json", "b/COLOURS.txt"):
            expect(line in diff, f"the diff shows {line!r}", diff)
        hands.exec("tinted", "cat COLOURS.txt")
        expect((contents(scene.project), contents(scene.home)) == before, "nothing on the host has changed")
        expect(not any(path.exists() for path in system), "nothing was written to the system", system)
        tell.note("a hidden module, a link to the host's key (which leads nowhere), and nothing on the host")

        tell.step("See that the mode cannot be talked into more")
        for tool in ("file_write", "patch_apply", "workspace_sync_push", "service_start", "shell_open"):
            refusal = hands.refused(tool, workspace="tinted")
            expect("inspect does not show" in refusal, f"{tool} is refused and the mode named", refusal)
        for arguments in ({"network": "open"}, {"allow": ["collector.example.com"]}, {"min_isolation": "none"}):
            refusal = hands.refused("workspace_create", **arguments)
            expect("inspect" in refusal and next(iter(arguments)) in refusal, "a hidden argument is refused", refusal)
        if hands.confined:
            hands.refused("workspace_create", source=str(scene.home))
        tell.note(refusal.splitlines()[0])

        tell.step("Keep the evidence")
        hands.export("tinted", "loot.json", str(scene.project / "downloads" / "tinted-1.2.loot.json"))
        kept = json.loads((scene.project / "downloads" / "tinted-1.2.loot.json").read_text())
        expect(kept == loot, "the export is what was inside")
        summary = hands.summary("tinted")
        for line in ("[ok] /bin/sh -c 'python3 -B setup.py'", "tinted/_palette.py", "loot.json"):
            expect(line in summary, f"the summary says {line!r}", summary)

        tell.step("Delete the workspace")
        hands.delete("tinted")
        expect(not hands.list(), "no workspace is left", hands.list())
        survivors = processes_naming(sleep)
        expect(not survivors, "the process that it left behind is gone too", survivors)
        expect(not _called(listener), "nobody called home until the end")


def _pack(scene: Scene, targets: dict[str, object]) -> None:
    """Make the archive, as it would have been downloaded."""
    archive = scene.project / ARCHIVE
    archive.parent.mkdir()
    knows = scene.folder / "targets.json"
    knows.write_text(json.dumps(targets))
    with tarfile.open(archive, "w:gz") as made:
        for name in ("README.md", "setup.py", "tinted/__init__.py"):
            made.add(PROJECTS / "tinted" / name, name)
        made.add(knows, "targets.json")


@contextmanager
def _listener() -> Iterator[tuple[socket.socket, int]]:
    """Somebody on the host who would answer a call home."""
    with closing(socket.create_server(("", 0), backlog=8)) as listener:
        listener.setblocking(False)
        yield listener, listener.getsockname()[1]


def _called(listener: socket.socket) -> bool:
    try:
        connection, _ = listener.accept()
    except BlockingIOError:
        return False
    connection.close()
    return True


STORY = Story("untrusted-inspection", StartupMode.INSPECT, "vetting", play)
