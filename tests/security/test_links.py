"""Case 2: links, however they are made and whenever they change, lead nobody out of the workspace."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

import pytest

from sandlot.errors import SandlotError
from sandlot.sdk import Sandlot, Workspace

TOKEN = "canary" + secrets.token_hex(12)

PLANT = """
import os, sys
host = sys.argv[1]
os.makedirs("/workspace/tree/sub", exist_ok=True)
os.chdir("/workspace/tree")
links = {
    "absolute": host, "file": host + "/secret", "root": "/", "proc": "/proc/self/root" + host, "cwd": "/proc/self/cwd",
    "up": "../" * 30 + host.lstrip("/"), "agent": "/proc/1/root" + host, "hop3": host, "hop2": "hop3", "hop1": "hop2",
    "sub/back": "../" * 30, "loop": "loop", "dangling": host + "/new", "state": os.path.dirname(host),
}
for name, target in links.items():
    os.symlink(target, name)
"""

SWAP = """
import os, sys
host = sys.argv[1]
os.makedirs("/workspace/swap/real", exist_ok=True)
os.chdir("/workspace/swap")
with open("real/secret", "w") as file:
    file.write("mine")
os.symlink(host, "link")
os.symlink(host + "/secret", "filelink")
with open("plain", "w") as file:
    file.write("mine")
print("ready", flush=True)
while True:
    for thing, name in (("link", "real"), ("filelink", "plain")):
        os.rename(thing, "aside"); os.rename(name, thing); os.rename("aside", name)
"""


@pytest.fixture
def secret(host_folder: Path) -> Path:
    (host_folder / "secret").write_text(TOKEN)
    (host_folder / "secret").chmod(0o666)
    return host_folder


def untouched(folder: Path) -> None:
    assert [path.name for path in folder.iterdir()] == ["secret"]
    assert (folder / "secret").read_text() == TOKEN


def holds_token(folder: Path) -> list[str]:
    """Regular files of an export that hold the host's secret; links are not followed."""
    found = []
    for place, _, files in os.walk(folder):
        for name in files:
            path = Path(place, name)
            if not path.is_symlink() and TOKEN.encode() in path.read_bytes():
                found.append(str(path))
    return found


def planted(workspace: Workspace, folder: Path) -> list[str]:
    done = workspace.exec(["python3", "-c", PLANT, str(folder)])
    assert done.exit_status == 0, done.stderr.text
    ways = ["absolute/secret", "file", "root" + str(folder) + "/secret", "proc/secret", "up/secret", "agent/secret",
            "hop1/secret", "sub/back" + str(folder) + "/secret", "loop", "cwd/../../.." + str(folder) + "/secret",
            "sub/../absolute/../" + folder.name + "/secret", "state/" + folder.name + "/secret"]  # fmt: skip
    return ["tree/" + way for way in ways] + [str(folder / "secret"), "../" * 9 + str(folder / "secret").lstrip("/")]


def test_file_tools_never_follow_a_link_to_the_host(workspace: Workspace, secret: Path) -> None:
    for way in planted(workspace, secret):
        with pytest.raises(SandlotError):
            assert TOKEN in workspace.files.read(way).content
        with contextlib.suppress(SandlotError):
            workspace.files.write(way, "overwritten")
        with contextlib.suppress(SandlotError):
            workspace.files.move("tree/dangling", way + "-moved")
        with contextlib.suppress(SandlotError):
            workspace.files.delete(way)
        untouched(secret)


def test_search_list_and_diff_show_nothing_of_the_host(workspace: Workspace, secret: Path) -> None:
    planted(workspace, secret)
    assert not workspace.files.search(TOKEN, include_ignored=True).matches
    assert TOKEN not in workspace.diff().patch
    assert TOKEN not in repr(workspace.files.list(recursive=True))
    assert TOKEN not in workspace.summary().text
    untouched(secret)


def test_an_export_copies_links_and_never_what_they_point_to(
    workspace: Workspace, secret: Path, tmp_path: Path
) -> None:
    for number, way in enumerate([".", "tree", *planted(workspace, secret)]):
        with contextlib.suppress(SandlotError):
            workspace.export(way, tmp_path / f"out-{number}")
    assert (tmp_path / "out-0").is_dir()
    assert holds_token(tmp_path) == []
    untouched(secret)


def test_an_export_never_writes_through_a_link_that_an_earlier_one_brought(
    workspace: Workspace, secret: Path, tmp_path: Path
) -> None:
    workspace.exec(["ln", "-s", str(secret), "door"])
    workspace.export(".", tmp_path / "out")
    workspace.exec("rm door; mkdir door; echo overwritten > door/secret; echo new > door/new")
    workspace.export(".", tmp_path / "out", overwrite=True)
    untouched(secret)


def test_a_link_swapped_in_during_an_operation_leads_nowhere(
    sandlot: Sandlot, workspace: Workspace, secret: Path, tmp_path: Path
) -> None:
    running = workspace.exec(["python3", "-c", SWAP, str(secret)], background=True)
    assert running.command.outcome is None
    while "ready" not in (workspace.logs(running.command.number).output or ""):
        assert workspace.status().running
    for number in range(int(os.environ.get("SANDLOT_TEST_SWAPS", "25"))):
        for name in ("swap/real/secret", "swap/link/secret", "swap/plain", "swap/filelink"):
            with contextlib.suppress(SandlotError):
                assert TOKEN not in workspace.files.read(name).content
            with contextlib.suppress(SandlotError):
                workspace.files.write(name, "overwritten")
        with contextlib.suppress(SandlotError):
            assert TOKEN not in workspace.diff().patch
        with contextlib.suppress(SandlotError):
            workspace.export("swap", tmp_path / f"out-{number}")
    workspace.kill(running.command.number)
    assert holds_token(tmp_path) == []
    untouched(secret)
