"""Running the command line in more ways than ``cli`` does: without a workspace, on a terminal, interrupted."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from sandlot.bases.trees import remove_tree
from sandlot.sdk import Sandlot
from tests.conftest import CompletedProcess, clean_environment

Bare = Callable[..., CompletedProcess]
Terminal = Callable[..., tuple[int, bytes]]
Spawn = Callable[..., "subprocess.Popen[bytes]"]

DEADLINE_S = 60.0


@pytest.fixture(scope="module")
def bare() -> Iterator[Bare]:
    """Run the command line where nothing has to work: help, mistakes, first contact."""
    folder = Path(tempfile.mkdtemp(prefix="sl-bare-"))

    def run(*words: str | bytes, stdin: bytes = b"", **environment: str | None) -> CompletedProcess:
        merged = {**clean_environment(folder), **environment}
        return subprocess.run(
            [sys.executable, "-m", "sandlot", *words],
            input=stdin,
            capture_output=True,
            env={name: value for name, value in merged.items() if value is not None},
            timeout=DEADLINE_S,
            check=False,
        )

    yield run
    remove_tree(folder)


@pytest.fixture
def spawn(state_dir: Path, sandlot: Sandlot) -> Iterator[Spawn]:
    """Start the command line, in a session of its own, and leave it running."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*words: str, **options: object) -> subprocess.Popen[bytes]:
        settings: dict[str, object] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        process: subprocess.Popen[bytes] = subprocess.Popen(  # type: ignore[call-overload]  # options of many types
            [sys.executable, "-m", "sandlot", *words],
            env=clean_environment(state_dir),
            start_new_session=True,
            **settings,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def terminal(state_dir: Path, sandlot: Sandlot) -> Terminal:
    """Run the command line on a terminal of its own: (exit status, everything it wrote there)."""

    def run(
        words: Sequence[str], *, code: str | None = None, columns: int = 100, keys: bytes = b""
    ) -> tuple[int, bytes]:
        control, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        argv = [sys.executable, "-m", "sandlot", *words] if code is None else [sys.executable, "-c", code]
        environment = {**clean_environment(state_dir), "TERM": "xterm"}
        process = subprocess.Popen(
            argv, stdin=terminal, stdout=terminal, stderr=terminal, env=environment, start_new_session=True
        )
        os.close(terminal)
        os.write(control, keys)
        written = b""
        end = time.monotonic() + DEADLINE_S
        try:
            while select.select([control], [], [], max(0.0, end - time.monotonic()))[0]:
                try:
                    data = os.read(control, 1 << 16)
                except OSError:  # EIO: the last one who had the terminal has closed it
                    break
                written += data
            return process.wait(timeout=DEADLINE_S), written.replace(b"\r\n", b"\n")
        finally:
            process.kill()
            process.wait()
            os.close(control)

    return run
