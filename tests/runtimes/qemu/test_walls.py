"""What is left to a QEMU that a guest has taken over; a program in its place tries, and needs no guest for it."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path

import pytest

from sandlot.errors import StartFailed
from sandlot.runtimes.qemu import landlock
from sandlot.runtimes.qemu.keeping import Plan, starting

LANDLOCK = landlock.version()
ATTACK = """
import json, os, resource, socket, sys
secret, own, readable, pid, port, abstract = sys.argv[1:]
report = {"done": [], "refused": []}

def attempt(name, action):
    try:
        action()
        report["done"].append(name)
    except OSError:
        report["refused"].append(name)

def to(family, address):
    with socket.socket(family) as made:
        made.settimeout(20)
        made.connect(address)

attempt("read a secret", lambda: open(secret, "rb").read())
attempt("write a secret", lambda: open(secret, "ab"))
attempt("list its folder", lambda: os.listdir(os.path.dirname(secret)))
attempt("link to it", lambda: os.link(secret, own + "-link"))
attempt("make a file", lambda: open(own + "-new", "w"))
attempt("make a folder", lambda: os.mkdir(own + "-folder"))
attempt("remove a file", lambda: os.unlink(readable))
attempt("write what is only read", lambda: open(readable, "ab"))
attempt("read a home", lambda: os.listdir(os.path.expanduser("~")))
attempt("read accounts", lambda: open("/etc/passwd").read())
attempt("read an environment", lambda: open("/proc/%s/environ" % pid, "rb").read())
attempt("read its descriptors", lambda: os.listdir("/proc/%s/fd" % pid))
attempt("truncate its disk", lambda: os.truncate(own, 0))
attempt("connect", lambda: to(socket.AF_INET, ("127.0.0.1", int(port))))
attempt("connect to an abstract socket", lambda: to(socket.AF_UNIX, "\\0" + abstract))
attempt("send a signal", lambda: os.kill(int(pid), 0))
attempt("read its root", lambda: open(readable, "rb").read())
attempt("read its disk", lambda: open(own, "rb").read())
report["environment"] = sorted(set(os.environ) - {"LC_CTYPE"})  # that one is Python's own
report["core"] = resource.getrlimit(resource.RLIMIT_CORE)
report["input"] = os.fstat(0).st_rdev == os.makedev(1, 3)
report["session"] = os.getsid(0) == os.getpid()
with open(own, "r+") as file:
    file.write(json.dumps(report))
"""
FILES = {
    "read a secret", "write a secret", "list its folder", "link to it", "make a file", "make a folder", "remove a file",
    "write what is only read", "read a home", "read accounts", "read an environment", "read its descriptors",
}  # fmt: skip


def test_who_has_taken_over_qemu_finds_no_file_no_port_and_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_KEY", "canary")
    for name in ("secret", "root", "disk"):
        (tmp_path / name).write_text(" " * 5000)
    abstract = f"sandlot-test-{os.urandom(6).hex()}"
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as hidden:
        hidden.bind("\0" + abstract)
        hidden.listen()
        words = [
            tmp_path / "secret",
            tmp_path / "disk",
            tmp_path / "root",
            os.getpid(),
            server.getsockname()[1],
            abstract,
        ]
        argv = (sys.executable, "-I", "-c", ATTACK, *map(str, words))
        reads = (sys.prefix, sys.base_prefix, str(tmp_path / "root"))
        plan = Plan("clone", argv, str(tmp_path / "state"), reads, (str(tmp_path / "disk"),))
        with (
            pytest.raises(StartFailed),  # it is no QEMU, and does not talk like one
            starting(tmp_path / "socket", tmp_path / "log") as kept,
        ):
            kept.keep(plan, 60)
    report = json.loads((tmp_path / "disk").read_text().strip())
    assert report["environment"] == ["LC_ALL", "PATH"]
    assert report["core"] == [0, 0]
    assert report["input"]
    assert report["session"]
    assert {"read its root", "read its disk"} <= set(report["done"])
    if not LANDLOCK:
        pytest.skip("this kernel has no Landlock: a QEMU that was taken over has what its user has")
    expected = FILES | ({"truncate its disk"} if LANDLOCK >= 3 else set())
    expected |= {"connect"} if LANDLOCK >= 4 else set()
    expected |= {"connect to an abstract socket", "send a signal"} if LANDLOCK >= 6 else set()
    assert set(report["refused"]) >= expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "log", "root", "secret"]


def test_a_kernel_without_landlock_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "version", lambda: 0)
    assert landlock.ruleset(["/etc"], ["/tmp"]) is None
