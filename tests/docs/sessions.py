"""The recorded sessions of the documentation: ``console`` blocks, run again and compared, or recorded anew.

``python -m tests.docs.sessions PAGE...`` replaces what stands behind each ``$ `` line by what the command prints now.
All blocks of a page run in one shell, from the top folder of the checkout; ``PLACES`` are folders of their own.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from sandlot.bases.trees import remove_tree

ROOT = Path(__file__).resolve().parent.parent.parent
SHOP = "/tmp/shop"
PLACES = (SHOP, "/tmp/first-run")

_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_MARK = "--8<-- end of command"
_CHANGING = (
    (re.compile(r"ws-[0-9a-f]{16}"), "ws-ID"),
    (re.compile(r"\b\d{8}-\d{6}-[0-9a-f]{6}\b"), "RUN"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z?"), "TIME"),
    (re.compile(r"\b(?=[0-9a-f]*\d)[0-9a-f]{7,64}\b"), "HEX"),
    (re.compile(r'("(?:duration_ms|cpu_ms|max_rss_bytes)": )\d+'), r"\1N"),
    (re.compile(r"\d+\.\d+ s\b"), "N s"),
    (re.compile(r"^limits  .*(\n   .*)*", re.MULTILINE), "limits"),  # shares of the machine, and what it can enforce
)


def steps(page: str) -> list[tuple[str, str]]:
    """(command, what it prints) of all console blocks of a page, in order."""
    found = []
    for block in _BLOCK.findall(page):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, printed = part.partition("\n")
            while command.endswith("\\"):
                more, _, printed = printed.partition("\n")
                command += "\n" + more.removeprefix("> ")
            found.append((command, printed.strip("\n")))
    return found


def play(commands: list[str]) -> list[str]:
    """What each command prints, on either stream, as on a terminal 200 columns wide that is no terminal."""
    folder = Path(tempfile.mkdtemp(prefix="sl-docs-"))
    try:
        places = {each: str(folder / Path(each).name) for each in PLACES}
        (folder / "home").mkdir()
        wrapper = folder / "bin" / "sandlot"
        wrapper.parent.mkdir()
        wrapper.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m sandlot "$@"\n')
        wrapper.chmod(0o755)
        lines = []
        for command in commands:
            for shown, real in places.items():
                command = command.replace(shown, real)
            lines.append(command)
            lines.append(f"status=$?; echo '{_MARK}'; (exit $status)")
        done = subprocess.run(
            ["bash", "-c", "\n".join(lines)],
            cwd=ROOT,
            env=_environment(folder),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=120,
            check=False,
        )
        subprocess.run([wrapper, "workspace", "delete", "--all"], env=_environment(folder), check=True,
                       capture_output=True)  # fmt: skip
        printed = done.stdout.decode()
        for shown, real in places.items():
            printed = printed.replace(real, shown)
        return [part.strip("\n") for part in printed.split(_MARK)[:-1]]
    finally:
        remove_tree(folder)


def _environment(folder: Path) -> dict[str, str]:
    source = [str(ROOT / "src"), *(path for path in sys.path if "site-packages" in path)]
    moment = "2026-11-21T12:00:00Z"
    return {
        "GIT_AUTHOR_DATE": moment,
        "GIT_COMMITTER_DATE": moment,
        "HOME": str(folder / "home"),
        "LC_ALL": "C.UTF-8",
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(source),
        "PYTHONUNBUFFERED": "1",
        "SANDLOT_STATE_DIR": str(folder / "state"),
    }


def comparable(printed: str) -> str:
    """Output without what differs from run to run: ids, times, hashes."""
    for pattern, word in _CHANGING:
        printed = pattern.sub(word, printed)
    return "\n".join(line.rstrip() for line in printed.splitlines())


def record(path: Path) -> None:
    """Write what the commands of a page print now into the page."""
    page = path.read_text()
    outputs = iter(play([command for command, _ in steps(page)]))

    def again(block: re.Match[str]) -> str:
        parts = []
        for command, _ in steps(block[0]):
            shown = next(outputs)
            parts.append(f"$ {command.replace(chr(10), chr(10) + '> ')}\n" + (f"{shown}\n" if shown else ""))
        return "```console\n" + "".join(parts) + "```"

    path.write_text(_BLOCK.sub(again, page))


if __name__ == "__main__":
    for name in sys.argv[1:]:
        record(Path(name))
