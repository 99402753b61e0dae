"""Looking whether a service is ready: every kind of check, whatever it meets, and never longer than it may take."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SOURCE

# Each story runs in a process of its own, which forks, as a worker does.
STAGE = """
import json, os, select, signal, socket, subprocess, sys, threading, time
from sandlot.guest import protect, tree
from sandlot.guest.probe import Probe
from sandlot.wire import service
protect.adopt_orphans()
env = [b"PATH=/usr/bin:/bin"]
def look(check, *words, limit=20.0, cwd=b"."):
    probe = Probe(check, list(words), cwd, env, limit)
    poller = select.poll()
    poller.register(probe.source, select.POLLIN)
    assert poller.poll(30000)
    return probe.answer()
def listening():
    made = socket.socket()
    made.bind(("127.0.0.1", 0))
    made.listen()
    return made, b"%d" % made.getsockname()[1]
def answering(text):
    made, port = listening()
    def serve():
        connection, _ = made.accept()
        connection.recv(65536)
        connection.sendall(text)
        connection.close()
    threading.Thread(target=serve, daemon=True).start()
    return port
def http(text):
    return look(service.HTTP, b"127.0.0.1", answering(text), b"/x?y", b"host:1")
def left():
    end = time.monotonic() + 30
    while tree.descendants(os.getpid()) and time.monotonic() < end:
        tree.reap()
    return len(tree.descendants(os.getpid()))
"""


def played(story: str, folder: Path) -> Any:
    environment = {"PYTHONPATH": str(SOURCE), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", STAGE + story], env=environment, capture_output=True, timeout=100,
        check=False, cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return json.loads(done.stdout)


def looked(expression: str, folder: Path) -> Any:
    return played(f"print(json.dumps({expression}))", folder)


def test_a_path_that_exists_is_ready_whatever_it_is(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "dangling").symlink_to("nowhere")
    found = looked('[look(service.FILE, name) for name in (b"there", b"fifo", b"dangling", b"no\\xff")]', tmp_path)
    assert found[:2] == [None, None]
    assert found[2] == "dangling: No such file or directory"
    assert found[3] == "no\udcff: No such file or directory"


def test_a_port_that_takes_connections_is_ready(tmp_path: Path) -> None:
    story = (
        "made, port = listening()\n"
        'found = [look(service.TCP, b"127.0.0.1", port), look(service.TCP, b"localhost", port)]\n'
        "made.close()\n"
        'found.append(look(service.TCP, b"127.0.0.1", port))\n'
        "print(json.dumps(found))"
    )
    found = played(story, tmp_path)
    assert found[:2] == [None, None]
    assert found[2].endswith("connection refused")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("HTTP/1.1 200 OK\\r\\n\\r\\n", None),
        ("HTTP/1.0 302 Found\\r\\nLocation: http://192.0.2.1/\\r\\n\\r\\n", None),
        ("HTTP/1.1 404 Not Found\\r\\n", "HTTP status 404"),
        ("HTTP/1.1 500 Oh\\n", "HTTP status 500"),
        ("HTTP/1.1 100 Continue\\r\\n\\r\\n", "HTTP status 100"),
        ("HTTP/1.1 99999999999999999999 X\\r\\n", "HTTP status 9999"),
        ("SSH-2.0-OpenSSH\\r\\n", "the answer is not HTTP"),
        ("x" * 5000, "the answer is not HTTP"),
        ("", "the answer is not HTTP"),
    ],
)
def test_the_first_line_of_an_http_answer_decides(tmp_path: Path, answer: str, why: str | None) -> None:
    assert looked(f'http(b"{answer}")', tmp_path) == why


def test_a_command_that_exits_with_0_is_ready(tmp_path: Path) -> None:
    sh = 'look(service.COMMAND, b"sh", b"-c", b"%s")'
    found = looked(f"[{sh % 'true'}, {sh % 'exit 3'}, {sh % 'kill -9 $$'}, look(service.COMMAND, b'nosuch')]", tmp_path)
    assert found == [None, "sh exited with 3", "sh was ended by signal 9", "nosuch: command not found"]


def test_a_check_ends_when_its_time_is_up_and_leaves_nothing(tmp_path: Path) -> None:
    story = (
        "made, port = listening()\n"
        'found = [look(service.HTTP, b"127.0.0.1", port, b"/", b"h", limit=0.1),\n'
        '         look(service.COMMAND, b"sh", b"-c", b"sleep 1000; true", limit=0.1)]\n'
        "print(json.dumps([found, left()]))"
    )
    assert played(story, tmp_path) == [["no answer within 0.1 s"] * 2, 0]


def test_a_check_that_is_given_up_leaves_nothing(tmp_path: Path) -> None:
    story = (
        'probe = Probe(service.COMMAND, [b"sh", b"-c", b"sleep 1000; true"], b".", env, 60.0)\n'
        "end = time.monotonic() + 30\n"
        "while len(tree.descendants(os.getpid())) < 3: assert time.monotonic() < end\n"
        "probe.close()\n"
        "print(json.dumps(left()))"
    )
    assert played(story, tmp_path) == 0


def test_a_check_that_somebody_kills_or_stops_is_not_ready(tmp_path: Path) -> None:
    story = (
        'waiting = (service.COMMAND, [b"sleep", b"1000"], b".", env, 60.0)\n'
        "killed, stopped = Probe(*waiting), Probe(*waiting)\n"
        "end = time.monotonic() + 30\n"
        "while len(tree.descendants(os.getpid())) < 4: assert time.monotonic() < end\n"
        "os.kill(killed.pid, signal.SIGKILL); os.kill(stopped.pid, signal.SIGSTOP)\n"
        "while killed.pid in tree.descendants(os.getpid()): assert time.monotonic() < end\n"
        "print(json.dumps([killed.answer(), stopped.answer(), left()]))"
    )
    assert played(story, tmp_path) == ["the check did not answer", "the check did not answer", 0]


def test_a_check_ends_with_its_worker(tmp_path: Path) -> None:
    story = (
        "worker = os.fork()\n"
        "if worker == 0:\n"
        '    Probe(service.COMMAND, [b"sh", b"-c", b"sleep 1000; true"], b".", env, 60.0)\n'
        "    time.sleep(1000)\n"
        "end = time.monotonic() + 30\n"
        "while len(tree.descendants(os.getpid())) < 4: assert time.monotonic() < end\n"
        "os.kill(worker, signal.SIGKILL)\n"
        "print(json.dumps(left()))"
    )
    assert played(story, tmp_path) == 0
