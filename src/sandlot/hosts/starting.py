"""Starting an entry's command as its host would, and asking what a host asks first, in both eras of the protocol."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import select
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from sandlot import process
from sandlot._version import __version__

__all__ = ["Answer", "Era", "start"]

LONGEST_LINE = 4 << 20
"""Bytes that an answer may have."""
GOODBYE_S = 2.0
"""How long a server may take to end once its input has ended."""
_VERSION = {"name": "sandlot-doctor", "version": __version__}


class Era(StrEnum):
    """The two ways in which clients begin, named by the revision they speak."""

    LEGACY = "2025-11-25"
    MODERN = "2026-07-28"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered: its tools, or why not."""

    tools: tuple[str, ...] = ()
    problem: str = ""
    elapsed_ms: int = 0
    """From its start to its list of tools, the reply to the first message included."""
    sha256: str = ""
    """Of the list of tools: another one means that the model is told something else."""


def start(argv: tuple[str, ...], *, env: Mapping[str, str], cwd: Path, era: Era, patience_s: float) -> Answer:
    """Start it, shake hands, list its tools, end it. A failure is an answer, not an error."""
    began = time.monotonic()
    try:
        with process.piped(argv, env=env, cwd=cwd) as child:
            dialogue = _Dialogue(child, began, patience_s)
            try:
                listed = _greet(dialogue, era)
            except _Silent as silence:
                return Answer(problem=dialogue.explained(str(silence)), elapsed_ms=_since(began))
            elapsed = _since(began)
            dialogue.goodbye()
    except OSError as error:
        return Answer(problem=f"it cannot be started: {error.strerror}")
    tools = listed.get("tools")
    if not isinstance(tools, list):
        return Answer(problem="it answers tools/list without tools", elapsed_ms=elapsed)
    names = tuple(str(each.get("name")) for each in tools if isinstance(each, dict))
    digest = hashlib.sha256(json.dumps(tools, sort_keys=True).encode()).hexdigest()
    return Answer(names, elapsed_ms=elapsed, sha256=digest)


def _since(began: float) -> int:
    return round((time.monotonic() - began) * 1000)


def _greet(dialogue: _Dialogue, era: Era) -> dict[str, Any]:
    meta: dict[str, Any] = {}
    if era is Era.LEGACY:
        asked = {"protocolVersion": era.value, "capabilities": {}, "clientInfo": _VERSION}
        answer = dialogue.ask(1, "initialize", asked)
        if not isinstance(answer.get("protocolVersion"), str):
            raise _Silent("it answers initialize without a protocolVersion")
        dialogue.say({"jsonrpc": "2.0", "method": "notifications/initialized"})
    else:
        prefix = "io.modelcontextprotocol/"
        facts = {"protocolVersion": era.value, "clientCapabilities": {}, "clientInfo": _VERSION}
        meta = {"_meta": {prefix + name: value for name, value in facts.items()}}
        answer = dialogue.ask(1, "server/discover", meta)
        if era.value not in (answer.get("supportedVersions") or ()):
            raise _Silent(f"it does not support {era.value}")
    return dialogue.ask(2, "tools/list", meta)


class _Silent(Exception):
    """No answer, or none that can be used."""


class _Dialogue:
    """Lines of JSON to and from a child, with a deadline for all of it."""

    def __init__(self, child: subprocess.Popen[bytes], began: float, patience_s: float) -> None:
        if not child.stdin or not child.stdout or not child.stderr:
            raise ValueError("a child without pipes")
        self._in, self._out, self._err = child.stdin.fileno(), child.stdout.fileno(), child.stderr.fileno()
        self._stdin = child.stdin
        self._child = child
        self._deadline = began + patience_s
        self._patience = patience_s
        self._buffer = b""
        self._complaint = b""
        self._open = {self._out, self._err}

    def say(self, message: Mapping[str, Any]) -> None:
        # Far less than a pipe holds: this cannot block.
        with contextlib.suppress(BrokenPipeError):
            os.write(self._in, json.dumps(message).encode() + b"\n")

    def ask(self, number: int, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """The result."""
        self.say({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        while True:
            line = self._line(method)
            try:
                message = json.loads(line)
            except ValueError:
                raise _Silent(f"it prints what is no message: {line[:80]!r}") from None
            if not isinstance(message, dict) or message.get("id") != number or "method" in message:
                continue  # a notification, or a request of its own
            result = message.get("result")
            if not isinstance(result, dict):
                error = message.get("error")
                text = error.get("message") if isinstance(error, dict) else error
                raise _Silent(f"it answers {method} with an error: {str(text)[:200]}")
            return result

    def _line(self, method: str) -> bytes:
        while b"\n" not in self._buffer:
            if len(self._buffer) > LONGEST_LINE:
                raise _Silent(f"its answer to {method} is longer than {LONGEST_LINE >> 20} MiB")
            if self._out not in self._open:
                raise _Silent(f"it ended before it answered {method}")
            if not self._read():
                raise _Silent(f"no answer to {method} within {self._patience:g} s")
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _read(self) -> bool:
        """Take what is there; False when time is up."""
        poller = select.poll()
        for fd in self._open:
            poller.register(fd, select.POLLIN)
        ready = poller.poll(max(0, int((self._deadline - time.monotonic()) * 1000)))
        for fd, _ in ready:
            data = os.read(fd, 65536)
            if not data:
                self._open.discard(fd)
            elif fd == self._out:
                self._buffer += data
            else:
                self._complaint = (self._complaint + data)[-2000:]
        return bool(ready)

    def explained(self, problem: str) -> str:
        """With the last line that it printed for people."""
        while self._out not in self._open and self._err in self._open and self._read():
            pass  # it has ended: the rest of its complaint
        lines = [line for line in self._complaint.decode("utf-8", "replace").splitlines() if line.strip()]
        return f"{problem} ({lines[-1].strip()[:200]})" if lines else problem

    def goodbye(self) -> None:
        """Let it end by itself, as hosts do."""
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(GOODBYE_S)
