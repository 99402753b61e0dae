"""Environments in guests: the same image as with namespaces, setups that run in a guest, and what is kept of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sandlot.bases.trees import remove_tree
from sandlot.errors import IsolationUnavailable
from sandlot.model.isolation import IsolationLevel
from sandlot.runtimes.base import Finding, ProbeReport, StorageKind
from sandlot.runtimes.bubblewrap.runtime import BubblewrapRuntime
from sandlot.runtimes.qemu import upkeep
from sandlot.runtimes.qemu.places import Places
from sandlot.sdk import Sandlot
from sandlot.settings import Settings
from sandlot.workspaces.context import Context
from tests.images import Image, entry, layer, registry, runnable, tree_of
from tests.runtimes.qemu.guests import NEEDS_QEMU, paths_in

pytestmark = [NEEDS_QEMU, pytest.mark.slow, pytest.mark.xdist_group("guests")]

VARIABLES = ["PATH=/opt/tools:/bin", "GREETING=hello"]
LAYERS = [
    runnable(),
    layer(
        entry("opt/tools/greet", b"#!/bin/sh\necho $GREETING from $0\n", mode=0o755),
        entry("opt/gone", b"x"),
        entry("opt/hidden/below", b"x"),
    ),
    layer(entry("opt/.wh.gone"), entry("opt/hidden/.wh..wh..opq"), entry("opt/hidden/above", b"y")),
]
SHOW = "greet; id; ls /; ls -a /opt /opt/hidden; cat /etc/passwd /etc/resolv.conf; echo $PATH; test -w / || echo closed"
SETUP = """
id; ls /workspace; cat seed.txt > /opt/made; rm -r /opt/hidden; mkdir /opt/hidden; echo new > /opt/hidden/new
ln /opt/made /opt/twin; ln -s /nowhere /opt/link; chown 33:33 /opt/made; echo changed >> /opt/tools/greet
for file in /dev/vda /dev/vdb /dev/vdc /dev/console; do cat < $file; echo x > $file; done
for file in /run/sandlot/lib/x /proc/sys/kernel/core_pattern /dev/x; do
    (echo x > $file) 2>/dev/null && echo wrote $file
done
while read name bits; do
    case $name in CapEff:|CapBnd:|CapInh:|CapAmb:) echo $name $bits;; esac
done < /proc/self/status
echo x >> seed.txt && echo over; ls -a /
"""


@pytest.fixture(scope="module")
def sandlot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandlot]:
    folder = tmp_path_factory.mktemp("q")
    with Sandlot(folder) as made:
        made._context = Context(paths_in(folder), Settings.load())
        yield made
        made.call("workspace_delete", all=True)
        made.environments.prune()
    remove_tree(folder)


@pytest.fixture(scope="module")
def image(sandlot: Sandlot) -> str:
    """The name of one that came from a registry which wants a token, its layers compressed with zstd."""
    with registry(Image(LAYERS, {"Env": VARIABLES}, compression="zstd"), token="t0ken") as served:
        return sandlot.environments.import_image(f"{served.host}/team/tool:1").name


@pytest.fixture
def no_bubblewrap(monkeypatch: pytest.MonkeyPatch) -> None:
    why = Finding("bubblewrap.userns", False, "no user namespaces here", "")
    report = ProbeReport(False, IsolationLevel.NONE, StorageKind.OVERLAY, (why,))
    monkeypatch.setattr(BubblewrapRuntime, "probe", lambda *_, **__: report)


def said(sandlot: Sandlot, environment: str, runtime: str, script: str) -> str:
    with sandlot.create(environment=environment, runtime=runtime) as workspace:
        done = workspace.exec(script)
        assert done.ok, done.stderr.text
        return done.stdout.text


def test_an_image_from_a_registry_is_the_same_with_both_runtimes(sandlot: Sandlot, image: str) -> None:
    shown = [said(sandlot, image, runtime, SHOW) for runtime in ("bubblewrap", "qemu")]
    assert shown[0] == shown[1]
    assert "hello from /opt/tools/greet" in shown[0]
    assert "uid=1000(agent)" in shown[0]
    assert "/opt/hidden:\n.\n..\nabove\n" in shown[0]


def test_the_agent_brings_what_an_image_lacks(sandlot: Sandlot, image: str) -> None:
    with sandlot.create(environment=image, runtime="qemu") as workspace:
        workspace.files.write("a.txt", b"one\n")
        workspace.patch("--- a/a.txt\n+++ b/a.txt\n@@ -1 +1,2 @@\n one\n+two\n")  # the image has no git
        assert workspace.exec(["cat", "a.txt"]).stdout.text == "one\ntwo\n"
        assert [change.path for change in workspace.diff().files] == ["a.txt"]
        with workspace.shells.open() as shell:
            shell.write("echo shell is $0\n")
            assert "shell is /bin/sh" in shell.read(idle=0.5).text


def test_an_image_with_no_shell_runs_what_it_has(sandlot: Sandlot, tmp_path: Path) -> None:
    name = sandlot.environments.import_image(Image([runnable(("cat",))]).layout(tmp_path / "image"), name="bare:1").name
    with sandlot.create(environment=name, runtime="qemu") as workspace:
        workspace.files.write("a.txt", b"one\n")
        assert workspace.exec(["cat", "a.txt"]).stdout.text == "one\n"
        assert workspace.exec("cat a.txt").exit_status == 127
        assert [change.path for change in workspace.diff().files] == ["a.txt"]
        workspace.stop()
        assert workspace.exec(["cat", "a.txt"]).stdout.text == "one\n"
    assert sandlot.prepare(name, runtime="qemu").steps[-1].name == "delete"


def test_a_setup_in_a_guest_makes_what_it_makes_anywhere(
    sandlot: Sandlot, image: str, tmp_path: Path, no_bubblewrap: None
) -> None:
    (tmp_path / "seed.txt").write_text("seed\n")
    printed: list[bytes] = []
    made = sandlot.environments.build(
        "mine", parent=image, source=tmp_path, setup=[SETUP], on_output=lambda _, data: printed.append(data)
    )
    text = b"".join(printed).decode()
    assert text.startswith("uid=0(root)")
    assert "wrote" not in text
    assert "over\n" in text
    held = {line.split()[0]: int(line.split()[1], 16) for line in text.splitlines() if line.startswith("Cap")}
    assert held == {"CapInh:": 0, "CapEff:": 0b1010, "CapBnd:": 0b1010, "CapAmb:": 0}
    root = Path(sandlot.environments.inspect("mine").root)
    parent = Path(sandlot.environments.inspect(image).root)
    before, after = tree_of(parent), tree_of(root)
    assert {name: found for name, found in after.items() if before.get(name) != found} == {
        "opt/made": "seed\n", "opt/twin": "seed\n", "opt/hidden/new": "new\n", "opt/link": "-> /nowhere",
        "root": "folder",
        "opt/tools/greet": before["opt/tools/greet"] + "changed\n",
    }  # fmt: skip
    assert set(before) - set(after) == {"opt/hidden/above"}
    assert (root / "bin/sh").samefile(parent / "bin/sh"), "what is the same is stored once"
    assert sandlot.environments.build("again", parent=image, source=tmp_path, setup=[SETUP]).cached
    assert sandlot.list() == []
    assert made.environment.parent == sandlot.environments.inspect(image).environment.digest


def test_what_guests_keep_of_an_environment_is_shown_and_goes_with_it(sandlot: Sandlot, image: str) -> None:
    sandlot.prepare(image, runtime="qemu")
    assert sandlot.prepare(image, runtime="qemu").before == "warm"
    found = sandlot.environments.inspect(image)
    assert found.guests_bytes > 0
    places = Places.of(sandlot.paths)
    told = sandlot.call("env_prune", names=(image,), dry_run=True)
    assert told.guests.things >= 2
    with sandlot.create(environment=image, runtime="qemu") as workspace:
        assert sandlot.call("env_prune", names=(image,)).guests.things == 0
        assert workspace.exec("greet").ok
        assert upkeep.held_for(places, Path(found.root)) == found.guests_bytes
    gone = sandlot.call("env_prune", names=(image,))
    assert gone.pruned.digests == (found.environment.digest,)
    assert gone.guests == told.guests
    assert upkeep.held_for(places, Path(found.root)) == 0
    assert upkeep.remove_orphans(places, dry_run=True).things == 0


def test_what_was_demanded_of_a_setup_is_not_lowered(
    sandlot: Sandlot, no_bubblewrap: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    layout = Image([runnable()]).layout(tmp_path / "image")
    sandlot.environments.import_image(layout, name="bare")
    monkeypatch.setenv("SANDLOT_QEMU", str(tmp_path / "no-qemu"))
    with Sandlot(sandlot.paths.state) as other, pytest.raises(IsolationUnavailable):
        other.environments.build("never", parent="bare", setup=["true"])
