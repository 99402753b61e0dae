"""Plans, repositories and tests to prepare workspaces with."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sandlot.evals.cases import Hook, HookName, Message, Part, Place, Placement, Repo, TestCase
from sandlot.evals.outcomes import Trial

PLACE = Place("suite.eval.yaml", 3, 5)
CASE = TestCase("fix-it", PLACE, (Message("user", (Part("fix it"),)),), metadata={"level": 3})


def nth(number: int = 1) -> Trial:
    return Trial("suite", CASE.id, "mock", number)


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main"]
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(["git", *identity, *words], cwd=folder, env=environment, capture_output=True, check=True)
    return done.stdout.decode().strip()


def commit(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text)
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", f"{name}: {text.strip()}")
    return git(folder, "rev-parse", "HEAD")


def repository(folder: Path, commits: int = 3) -> list[str]:
    """A repository whose file app.py says its version; the ids of its commits."""
    folder.mkdir(parents=True)
    git(folder, "init", "-q")
    (folder / ".gitignore").write_text("build/\n*.log\n")
    return [commit(folder, "app.py", f"version = {number}\n") for number in range(1, commits + 1)]


def repo(source: Path, path: str = "./repo", **fields: Any) -> Repo:
    return Repo(path, str(source), local=True, place=PLACE, **fields)


def hook(
    name: HookName, command: Sequence[str] | str, folder: Path, *, timeout_s: float = 30, cwd: Path | str | None = None,
    host: bool = False,
) -> Hook:  # fmt: skip
    argv = ("/bin/sh", "-c", command) if isinstance(command, str) else tuple(command)
    placement = Placement.HOST if host else Placement.WORKSPACE
    return Hook(name, argv, timeout_s, str(folder), str(cwd or folder), PLACE, placement=placement)


def hooks(*made: Hook) -> dict[HookName, Hook]:
    return {each.name: each for each in made}
