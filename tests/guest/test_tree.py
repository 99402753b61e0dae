"""Process trees: found whole, however they scatter, and ended whole, however they grow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from sandlot.guest import tree
from tests.conftest import SOURCE

# Each story runs in a process of its own: it adopts orphans and ends everything below itself.
STAGE = """
import json, os, signal, subprocess, sys, time
from sandlot.guest import protect, tree
protect.adopt_orphans()
me = os.getpid()
def until(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        tree.reap()
def spawn(script):
    return subprocess.Popen(["/bin/sh", "-c", script], stdout=subprocess.PIPE)
"""
STORIES: dict[str, tuple[str, Any]] = {
    "a plain child": ("spawn('exec sleep 1000'); until(lambda: len(tree.descendants(me)) == 1)", 1),
    "a double fork with a session of its own": (
        "spawn('(setsid sleep 1000 & ) & wait').wait(); until(lambda: len(tree.descendants(me)) == 1)", 1,
    ),
    "one that ignores every polite signal": (
        "spawn('trap \"\" TERM INT HUP; echo r; sleep 1000; sleep 1000').stdout.read(2)\n"
        "until(lambda: len(tree.descendants(me)) == 2)", 2,
    ),
    "one that is stopped": (
        "child = spawn('exec sleep 1000'); os.kill(child.pid, signal.SIGSTOP)\n"
        "until(lambda: len(tree.descendants(me)) == 1)", 1,
    ),
    "one that keeps forking": (
        "spawn('while :; do (setsid sleep 1000 &); done'); until(lambda: len(tree.descendants(me)) > 30)", None,
    ),
}  # fmt: skip


def played(story: str) -> Any:
    script = STAGE + story
    environment = {"PYTHONPATH": str(SOURCE), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], env=environment, capture_output=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", STORIES)
def test_a_tree_is_found_whole_and_ended_whole(name: str) -> None:
    story, expected = STORIES[name]
    end = "\nfound = len(tree.descendants(me))\nleft = tree.kill_descendants(me, time.monotonic() + 30)\n"
    found, left, after = played(story + end + "print(json.dumps([found, left, tree.descendants(me)]))")
    assert expected is None or found == expected
    assert (left, after) == (0, [])


def test_only_descendants_are_ended() -> None:
    bystander = subprocess.Popen(["sleep", "1000"])
    try:
        played("spawn('exec sleep 1000')\nprint(tree.kill_descendants(me, time.monotonic() + 30))")
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_zombie_is_no_living_descendant() -> None:
    zombie = "child = os.fork()\nif child == 0: os._exit(0)\n"
    zombie += "os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)\n"
    assert played(zombie + "print(json.dumps([child in tree.processes(), tree.descendants(me)]))") == [True, []]


def test_a_name_with_parentheses_and_newlines_does_not_confuse_the_table() -> None:
    script = "open('/proc/self/comm', 'w').write(') S 1 (\\n x)')\n"
    table = played(script + "print(json.dumps([tree.processes()[me][0], os.getppid()]))")
    assert table[0] == table[1]


def test_signalling_who_is_gone_is_fine() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    tree.send([gone.pid], 15)
