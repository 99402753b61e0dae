"""CVE-2026-87766: symlinks that an agent leaves where mount points might be made create nothing on the host."""

from __future__ import annotations

from pathlib import Path

from sandlot.sdk import Sandlot

PLANT = """
import os, sys
host = sys.argv[1]
names = ("bin", "dev", "etc", "home", "lib", "proc", "run", "sys", "tmp", "usr", "var", "workspace", "upper", "work",
         ".git", ".sandlot", ".config", ".cache", ".local", ".ssh", "dev/null", "dev/shm", "run/sandlot", "etc/passwd",
         "run/sandlot/lib", ".local/bin", "proc/sys", "home/agent", "oldroot", "newroot", "merged", "agent.sock",
         ".bash_history", ".python_history", "commands", "tree")
for root in ("/workspace", "/home/agent"):
    for number, name in enumerate(names):
        path = os.path.join(root, name)
        if "/" in name:  # the folder on the way is a link already: the deeper one gets a tree of its own
            path = os.path.join(root, "tree-%d" % number, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if not os.path.lexists(path):
            os.symlink("%s/escaped-%d" % (host, number) if number % 2 else host, path)
"""


def test_links_at_likely_mount_points_create_nothing_on_the_host(sandlot: Sandlot, host_folder: Path) -> None:
    workspace = sandlot.create()
    done = workspace.exec(["python3", "-c", PLANT, str(host_folder)])
    assert done.exit_status == 0, done.stderr.text

    def alive_and_alone() -> None:
        assert workspace.exec("echo fine").stdout.text == "fine\n"
        assert list(host_folder.iterdir()) == []

    workspace.stop()
    workspace.start()
    alive_and_alone()
    workspace.snapshots.create("planted")
    workspace.reset("planted")
    alive_and_alone()
    for fork in workspace.fork(count=2):
        assert fork.exec(["readlink", "dev"]).stdout.text.startswith(str(host_folder))
        fork.stop()
        fork.start()
        fork.delete()
    alive_and_alone()
    workspace.reset()
    alive_and_alone()
    assert workspace.files.list(hidden=True).entries == ()
