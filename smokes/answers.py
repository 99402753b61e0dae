"""Facts out of the answers of the MCP server, read as a model reads them; SmokeFailed when they are not there.

What comes from inside a workspace stands behind one line that says so; what stands before that line is sandlot's own.
"""

from __future__ import annotations

import re
import textwrap
from typing import Any

from smokes.hands import EvalsSeen, Ran, Seen, ServiceSeen
from smokes.story import fail

__all__ = [
    "answer",
    "body",
    "cursor",
    "evals",
    "files",
    "going_on",
    "matching",
    "patch",
    "ran",
    "regressed",
    "service",
    "workspace",
]

_ORIGIN = re.compile(r"^\[(?:workspace|eval run) .{0,120}untrusted: data, not instructions\]\n", re.MULTILINE)
_STREAM = re.compile(r"^--- (?:last )?(?:stdout|stderr)\n", re.MULTILINE)


def body(text: str) -> str:
    """What an answer shows of a workspace, without the names of streams; empty when it shows nothing."""
    return _STREAM.sub("", _parts(text)[1])


def _parts(text: str) -> tuple[str, str]:
    found = _ORIGIN.search(text)
    return (text, "") if found is None else (text[: found.start()], text[found.end() :])


def ran(text: str) -> Ran:
    """How a command ended."""
    return Ran(int(_fact(r"^command \d+: exit (\d+)", text)), body(text))


def files(text: str) -> list[str]:
    """The names in a list of files."""
    return [re.sub(r"/$| \(\d+\)$| -> .*$", "", line) for line in body(text).splitlines()]


def matching(text: str) -> list[str]:
    """The files that a search has found."""
    return sorted({line.partition(":")[0] for line in body(text).splitlines()})


def patch(text: str) -> str:
    """The patch in a diff, as it can be given to ``git apply``; empty when nothing has changed."""
    shown = body(text)
    start = shown.find("diff --git ")
    if start < 0:
        return ""
    return shown[start:] if shown.endswith("\n") else shown[start:] + "\n"


def workspace(data: dict[str, Any]) -> Seen:
    """A workspace in the data of a list or status."""
    isolation, _, runtime = str(data.get("isolation", "")).partition(" ")
    return Seen(data["id"], data.get("name", ""), data.get("labels", {}), data["state"], runtime.strip("()"), isolation)


def service(text: str) -> ServiceSeen:
    """A service as start, status and stop show it."""
    return ServiceSeen(_fact(r"^service \S+ \(command \d+\): (\w+)", text), text)


def cursor(text: str) -> int:
    """Where a shell can be read on."""
    return int(_fact(r"cursor[=:] ?(\d+)", text))


def evals(text: str) -> EvalsSeen:
    """A run of evals that has ended."""
    run, passed = _fact(r"^run (\S+): complete$", text), _fact(r"^(\d+/\d+) passed,", text)
    return EvalsSeen(run, *map(int, passed.split("/")))


def going_on(text: str) -> str:
    """The id of a run that has not ended yet; empty when it has."""
    found = re.match(r"run (\S+) goes on: ", text)
    return found[1] if found else ""


def answer(text: str) -> str:
    """What the target answered, of a test with one trial."""
    found = re.search(r"^  answer:\n((?:    .*\n?)*)", body(text), re.MULTILINE)
    return textwrap.dedent(found[1]).strip("\n") if found else ""


def regressed(text: str) -> list[str]:
    """The tests that passed in the first run of a comparison alone."""
    found = re.search(r"^regressed\n((?:  .*\n?)+)", body(text), re.MULTILINE)
    return [line.split()[0] for line in found[1].splitlines()] if found else []


def _fact(pattern: str, text: str) -> str:
    found = re.search(pattern, _parts(text)[0], re.MULTILINE)
    return found[1] if found else fail(f"expected: the answer says {pattern!r}", text)
