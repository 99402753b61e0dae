"""Case 4: modes, capabilities, whiteouts and overlay attributes made inside mean nothing outside."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from sandlot.bases.trees import remove_tree
from sandlot.runtimes.base import StorageKind
from sandlot.runtimes.bubblewrap.probe import Prober
from sandlot.sdk import Sandlot, Workspace
from tests.conftest import GUESTS

FORGE = """
import os, shutil, stat
os.chdir("/workspace")
shutil.copy("/bin/true", "setuid"); os.chmod("setuid", 0o6755)
os.mkdir("sticky"); os.chmod("sticky", 0o3777)
made = []
for name in ("keep", "whiteout"):
    try:
        if os.path.exists(name):
            os.unlink(name)
        os.mknod(name, stat.S_IFCHR | 0o644, 0)
        made.append(name)
    except OSError:
        pass
os.mkdir("opaque") if not os.path.isdir("opaque") else None
open("opaque/new", "w").write("new")
for path in ("opaque", "folder", "folder/kept", "plain"):
    if not os.path.exists(path):
        open(path, "w").write("x")
    for prefix in ("user.overlay.", "trusted.overlay.", "user.overlay.overlay."):
        for name, value in (("opaque", b"y"), ("whiteout", b""), ("redirect", b"/../../../../etc"), ("metacopy", b""),
                            ("origin", b"x"), ("impure", b"y"), ("nlink", b"U+9"), ("upper", b"x")):
            try:
                os.setxattr(path, prefix + name, value)
            except OSError:
                pass
try:
    os.setxattr("setuid", "security.capability", b"\\1\\0\\0\\2" + b"\\xff" * 16)
    print("capability")
except OSError:
    pass
for target in ("/usr/bin/env", "/etc/passwd", "/proc/1/exe", "/run/sandlot/lib/sandlot/guest/agent.py", "/dev/null"):
    try:
        os.link(target, "hard-" + os.path.basename(target))
        print("linked", target)
    except OSError:
        pass
"""
TREE = "find . -printf '%P %y %m %s %l\\n' | LC_ALL=C sort"


@pytest.fixture(params=[StorageKind.GUEST] if GUESTS else [StorageKind.OVERLAY, StorageKind.COPY])
def stored(request: pytest.FixtureRequest, sandlot: Sandlot, monkeypatch: pytest.MonkeyPatch) -> Sandlot:
    """Both ways of keeping changes, whichever this machine would choose."""
    if GUESTS:
        return sandlot
    real = Prober.report

    def report(prober: Prober, *, fresh: bool = False) -> object:
        found = real(prober, fresh=fresh)
        if request.param == StorageKind.OVERLAY and found.storage != StorageKind.OVERLAY:
            pytest.skip("no overlay on this machine")
        object.__setattr__(found, "storage", request.param)
        return found

    monkeypatch.setattr(Prober, "report", report)
    return sandlot


@pytest.fixture
def forged(stored: Sandlot, host_folder: Path) -> Workspace:
    for name in ("folder", "opaque"):
        (host_folder / name).mkdir()
    for name in ("keep", "folder/kept", "opaque/old"):
        (host_folder / name).write_text(name)
    workspace = stored.create(host_folder)
    assert workspace.info.storage == stored._context.runtime(workspace.info.runtime).probe().storage
    done = workspace.exec(["python3", "-c", FORGE])
    assert done.exit_status == 0, done.stderr.text
    assert done.stdout.text == ""
    return workspace


def test_what_a_snapshot_or_a_fork_shows_is_what_the_workspace_showed(forged: Workspace) -> None:
    before = forged.exec(TREE).stdout.text
    # A device node is not kept, and its name may be gone with it; everything else is the same.
    nodes = [line for line in before.splitlines() if " c " in line]
    forged.snapshots.create("forged")
    [fork] = forged.fork()
    forged.reset("forged")
    for workspace in (forged, fork):
        after = workspace.exec(TREE).stdout.text.splitlines()
        assert [line for line in before.splitlines() if line not in after] == nodes or before.splitlines() == after
        assert workspace.exec(["cat", "opaque/old"]).stdout.text == "opaque/old"
        assert workspace.exec(["cat", "folder/kept"]).stdout.text == "folder/kept"
    fork.delete()


def test_a_reset_brings_back_what_a_forged_whiteout_hid(forged: Workspace) -> None:
    forged.reset()
    assert forged.exec(["cat", "keep", "opaque/old", "folder/kept"]).stdout.text == "keepopaque/oldfolder/kept"
    assert forged.diff().files == ()


def test_nothing_special_leaves_by_an_export(forged: Workspace, tmp_path: Path) -> None:
    forged.export(".", tmp_path / "out")
    for folder, folders, files in os.walk(tmp_path / "out"):
        for name in folders + files:
            info = os.lstat(os.path.join(folder, name))
            assert stat.S_ISREG(info.st_mode) or stat.S_ISDIR(info.st_mode) or stat.S_ISLNK(info.st_mode)
            assert not info.st_mode & 0o7000
            assert info.st_uid == os.geteuid()
            attributes = os.listxattr(os.path.join(folder, name), follow_symlinks=False)
            assert not [each for each in attributes if "overlay" in each or "capability" in each]
    assert (tmp_path / "out/opaque/old").read_text() == "opaque/old"


def test_the_state_folder_keeps_setuid_files_away_from_other_users(forged: Workspace, stored: Sandlot) -> None:
    root = stored._context.paths
    assert stat.S_IMODE(os.stat(root.workspaces).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(root.layers).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(root.state).st_mode) & 0o077 == 0


def test_the_seed_on_the_host_is_not_changed_through_the_base(forged: Workspace, host_folder: Path) -> None:
    forged.exec("echo changed > folder/kept; chmod 777 keep; rm -rf opaque")
    assert (host_folder / "folder/kept").read_text() == "folder/kept"
    assert (host_folder / "opaque/old").read_text() == "opaque/old"


def test_a_forged_tree_can_be_removed_completely(forged: Workspace, stored: Sandlot) -> None:
    forged.exec("mkdir -p locked/in; chmod 000 locked/in locked; chattr +i keep 2>/dev/null; true")
    forged.delete()
    for entry in stored._context.paths.trash.iterdir():
        remove_tree(entry)
    assert list(stored._context.paths.trash.iterdir()) == []
    assert list(stored._context.paths.workspaces.iterdir()) == []
