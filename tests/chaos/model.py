"""What the workspaces of a chaos run must look like, however their operations were cut off.

An operation that was acknowledged happened. One that failed, or whose caller was killed, happened completely or not
at all: then a workspace has several possible states, until somebody looks which one it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sandlot.sdk import Sandlot, Workspace

__all__ = ["SHOW", "Operation", "State", "World", "look"]

Operation = Mapping[str, Any]
Files = tuple[tuple[str, str], ...]

SHOW = (
    "cd /workspace && find . -name .git -prune -o -name junk -prune -o -type f ! -name '.*' -print | sort | "
    'while read file; do echo "$file=$(cat "$file")"; done; echo "~=$(cat ~/note 2>/dev/null)"'
)
"""Prints every file of a workspace, one line each."""

SEEDS: Mapping[str, Files] = {
    "empty": (("~", ""),),
    "folder": (("./seed", "{text}"), ("./sub/file", "in a folder"), ("~", "")),
    "git": (("./kept", "committed"), ("./seed", "{text}"), ("~", "")),
}


@dataclass(frozen=True, slots=True)
class State:
    """One workspace."""

    files: Files
    baseline: Files
    snapshots: tuple[tuple[str, Files], ...] = ()

    def saved(self, name: str) -> Files | None:
        """The files of the baseline or a snapshot."""
        return self.baseline if name == "baseline" else dict(self.snapshots).get(name)


def _with(files: Files, path: str, text: str) -> Files:
    return tuple(sorted({**dict(files), path: text}.items()))


def _forked(parent: State) -> State | None:
    return State(parent.files, parent.files, (("parent-baseline", parent.baseline),))


def _changed(state: State, operation: Operation) -> State | None:
    """One workspace after an operation on it."""
    do = operation["do"]
    if do in ("exec", "write"):
        return replace(state, files=_with(state.files, operation["path"], operation["text"]))
    if do == "snapshot":
        return replace(state, snapshots=(*state.snapshots, (operation["snapshot"], state.files)))
    if do == "drop":
        return replace(state, snapshots=tuple(each for each in state.snapshots if each[0] != operation["snapshot"]))
    if do == "reset":
        saved = state.saved(operation["to"])
        return state if saved is None else replace(state, files=saved)
    return None if do == "delete" else state


@dataclass
class World:
    """Every workspace's possible states by name; None: it does not exist."""

    states: dict[str, set[State | None]] = field(default_factory=dict)

    def names(self) -> list[str]:
        """Workspaces that exist for sure."""
        return sorted(name for name, states in self.states.items() if None not in states)

    def apply(self, operation: Operation, *, certain: bool) -> None:
        """An operation was acknowledged (``certain``), or it may have happened."""
        for name, after in self._outcomes(operation).items():
            self.states[name] = after if certain else self.states.get(name, {None}) | after

    def _outcomes(self, operation: Operation) -> dict[str, set[State | None]]:
        name = operation["name"]
        before = self.states.get(name, {None})
        if operation["do"] == "create":
            seed = SEEDS[operation["seed"]]
            files = tuple((path, text.format(text=operation["text"])) for path, text in seed)
            return {name: {State(files, files)}}
        if operation["do"] == "fork":
            made: set[State | None] = {
                State(each.files, each.files, (("parent-baseline", each.baseline),))
                for each in before
                if each is not None
            }
            return {operation["new"]: made}
        return {name: {each if each is None else _changed(each, operation) for each in before}}

    def settle(self, name: str, found: State | None) -> str | None:
        """Somebody has looked: keep the states that fit, or say that none does."""
        states = self.states.get(name, {None})
        fitting = {each for each in states if _fits(each, found)}
        self.states[name] = fitting
        if fitting:
            return None
        return f"{name} is {found}, expected one of:\n  " + "\n  ".join(map(str, states))


def _fits(expected: State | None, found: State | None) -> bool:
    if expected is None or found is None:
        return expected is found
    names = [name for name, _ in expected.snapshots]
    return expected.files == found.files and names == [name for name, _ in found.snapshots]


def look(sandlot: Sandlot, names: Iterable[str]) -> dict[str, State | None]:
    """What workspaces look like now; snapshots come without their files."""
    there = {info.name: info.id for info in sandlot.list()}
    return {name: _look(sandlot.get(there[name])) if name in there else None for name in names}


def _look(workspace: Workspace) -> State:
    lines = [line.partition("=") for line in workspace.exec(SHOW).stdout.text.splitlines()]
    files = tuple(sorted((path, text) for path, _, text in lines))
    snapshots = [each.name for each in workspace.snapshots.list()]
    return State(files, (), tuple((name, ()) for name in snapshots))
