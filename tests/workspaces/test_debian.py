"""The real thing: debian:12 from this machine's apt sources, and packages installed on top (``make environments``)."""

from __future__ import annotations

import shutil
import time

import pytest

from sandlot.sdk import Sandlot, Workspace

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(shutil.which("apt-get") is None, reason="built from packages, by apt"),
]


def said(workspace: Workspace, command: str) -> str:
    done = workspace.exec(command)
    assert done.command.outcome is not None
    assert done.command.outcome.exit_code == 0, done.stderr.text
    return done.stdout.text


def test_debian_is_built_without_root_and_holds_what_it_says(sandlot: Sandlot) -> None:
    start = time.monotonic()
    made = sandlot.environments.build("debian:12").environment
    built = time.monotonic()
    print(f"\nbuilt debian:12 in {built - start:.0f} s: {made.files} files, {made.bytes >> 20} MiB")
    workspace = sandlot.create(environment="debian:12")
    assert said(workspace, "cat /etc/debian_version").startswith("12.")
    assert said(workspace, "dpkg --audit") == ""
    assert said(workspace, "dpkg-query -W -f '${Status}\\n' | sort | uniq -c | wc -l").strip() == "1"
    said(workspace, "git --version && rg --version && curl --version && python3 -c 'import ssl, sqlite3, lzma'")
    assert said(workspace, "find / -xdev -perm /6000 | wc -l").strip() == "0"
    workspace.files.write("a.txt", b"one\n")
    workspace.patch("--- a/a.txt\n+++ b/a.txt\n@@ -1 +1 @@\n-one\n+two\n")
    assert said(workspace, "cat a.txt") == "two\n"
    tools = sandlot.environments.build(
        "tools",
        parent="debian:12",
        setup=["apt-get update && apt-get install -y tree"],
        allow_preset=["debian-packages"],
    )
    print(f"installed a package in {time.monotonic() - built:.0f} s")
    assert said(sandlot.create(environment="tools"), "tree --version").startswith("tree v2")
    assert sandlot.environments.build(
        "tools:again", parent="debian:12", setup=["apt-get update && apt-get install -y tree"]
    ).cached
    assert tools.environment.parent == made.digest
    print("; ".join(f"{step.name} {step.ms} ms" for step in sandlot.prepare("debian:12").steps))
