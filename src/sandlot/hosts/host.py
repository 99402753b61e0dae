"""The contract of a chat host: where it keeps entries, what one looks like, and how it starts what they name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import ClassVar

from sandlot.errors import UsageError
from sandlot.hosts.around import Around
from sandlot.hosts.formats.base import Format, JsonObject, JsonValue, KeyPath
from sandlot.hosts.launch import Allow, Invocation, Launch, Scope, own_program

__all__ = ["Host", "HostFinding", "Place", "Setting", "State", "flat_entry", "read_only_tools", "strings"]

CALL_MS = 900_000
"""How long a host may wait for one call: longer than any answer of ours (long commands go to the background)."""


class State(StrEnum):
    """How a check went."""

    OK = "ok"
    WARNING = "warning"
    """It works, but not as well as it could, or not for everybody."""
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class HostFinding:
    """What one check of ``host doctor`` found. ``check`` never changes; scripts match on it."""

    host: str
    check: str
    state: State
    detail: str
    hint: str = ""
    repairable: bool = False
    """Whether ``host repair`` can put it right."""


@dataclass(frozen=True, slots=True)
class Place:
    """One place where a host looks for entries: a file, and the path of the object that holds them."""

    scope: str
    """``user`` or ``project``, or what a host calls a further one."""
    path: Path
    form: Format
    keys: KeyPath


@dataclass(frozen=True, slots=True)
class Setting:
    """A value beside our entry that is to be written (None: taken away)."""

    path: Path
    form: Format
    keys: KeyPath
    value: JsonValue


@dataclass(frozen=True, slots=True)
class Probe:
    """The host's own command that shows whether it sees, or even reaches, our server."""

    argv: tuple[str, ...]
    good: str
    """A regular expression that its output holds when all is well."""
    connects: bool = True
    """Whether it starts the server, or only reads the configuration."""
    pending: str | None = None
    """The same for: it waits until its user agrees."""
    projects: bool = False
    """Whether it can be asked in a project that is not trusted: it starts nothing there before its user has agreed."""
    needs: Mapping[str, str] = field(default_factory=dict)
    """Variables it is run with."""


class Host(ABC):
    """One chat host. Subclasses are data and a few lines; what they share is here."""

    key: ClassVar[str]
    """Its name on our command line."""
    title: ClassVar[str]
    binary: ClassVar[str | None] = None
    """Its program, where it has one."""
    desktop: ClassVar[bool] = False
    """An application that may be there without a program on PATH."""
    scopes: ClassVar[tuple[Scope, ...]] = (Scope.USER, Scope.PROJECT)
    allows: ClassVar[frozenset[Allow]] = frozenset({Allow.NONE})
    refusal: ClassVar[str] = ""
    """What to do in the host itself where it has no setting for ``--allow``."""
    afterwards: ClassVar[str] = ""
    """What the user does before the entry counts."""
    project_path: ClassVar[str] = "."
    """The project itself, as an entry of project scope names it."""
    patience_s: ClassVar[float] = 30.0
    """How long it waits for a server to start."""

    @abstractmethod
    def places(self, around: Around) -> tuple[Place, ...]:
        """Where it looks; the first place of a scope is where we write."""

    def place(self, around: Around, scope: Scope) -> Place:
        """Where an entry of a scope goes. Raises UsageError where the host has no such scope."""
        if scope not in self.scopes:
            raise UsageError(f"{self.title} has no configuration of {scope} scope", hint="leave --scope out")
        return next(each for each in self.places(around) if each.scope == scope)

    def entry(self, launch: Launch, allow: Allow, scope: Scope, place: Place) -> JsonObject:
        """All we write into our entry. Keys that are not in it are the user's, and stay."""
        program = own_program(scope)
        return self.shape(program[0], [*program[1:], *launch.words()], launch, allow, place)

    @abstractmethod
    def shape(self, command: str, arguments: list[str], launch: Launch, allow: Allow, place: Place) -> JsonObject:
        """A command in this host's words."""

    def read(self, entry: JsonValue) -> Invocation | None:
        """What an entry starts, or None when that cannot be read."""
        return flat_entry(entry)

    def loosening(self, _entry: JsonObject) -> tuple[KeyPath, ...]:
        """The keys of an entry that let tools run without asking."""
        return ()

    def allowed(self, entry: JsonObject, _around: Around) -> Allow:
        """What an entry lets the model do without asking."""
        return Allow.ALL if self.loosening(entry) else Allow.NONE

    def rules(self, _around: Around, _launch: Launch, _allow: Allow) -> tuple[Setting, ...]:
        """Settings elsewhere that carry ``--allow``, whether to write or to take away."""
        return ()

    def rule_files(self, _around: Around) -> tuple[Path, ...]:
        """The files of these settings."""
        return ()

    def check_allow(self, allow: Allow, launch: Launch, scope: Scope) -> None:
        """Raises UsageError where what is asked for cannot be written."""
        if allow is Allow.NONE:
            return
        if scope is Scope.PROJECT:
            # Whoever clones the project must not find that somebody else has decided what runs without asking.
            raise UsageError(
                "--allow is each user's own decision: it is not written into a project", hint="--scope user"
            )
        if allow in self.allows or (allow is Allow.READ_ONLY and launch.read_only and Allow.ALL in self.allows):
            return
        if Allow.ALL in self.allows:
            hint = "--allow read-only together with --read-only"
            raise UsageError(f"{self.title} cannot allow single tools", hint=hint)
        raise UsageError(f"{self.title} has no setting for --allow that sandlot writes", hint=self.refusal)

    def own_commands(
        self, _around: Around, _place: Place, _old: JsonObject | None, _new: JsonObject | None
    ) -> tuple[tuple[str, ...], ...]:
        """The host's own commands that bring its entry from old to new (None: not there); empty: edit the file."""
        return ()

    def environment(self, around: Around, invocation: Invocation) -> dict[str, str]:
        """What a server sees that this host starts."""
        return {**around.environ, **dict(invocation.env)}

    def approval(self, _around: Around, _place: Place, _entry: JsonObject) -> HostFinding | None:
        """Whether the host's user has to agree before anything is started."""
        return None

    def probe(self, _around: Around) -> Probe | None:
        """The host's own check of our server, where it has one."""
        return None

    def finding(
        self, check: str, state: State, detail: str, hint: str = "", *, repairable: bool = False
    ) -> HostFinding:
        """A finding about this host."""
        return HostFinding(self.key, check, state, detail, hint, repairable)


def strings(value: JsonValue) -> tuple[str, ...] | None:
    """A list of texts, or None when it is something else."""
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return tuple(str(each) for each in value)
    return None


def pairs(value: JsonValue) -> tuple[tuple[str, str], ...]:
    """An object of texts as pairs; what is no text is left out."""
    if not isinstance(value, dict):
        return ()
    return tuple((key, each) for key, each in value.items() if isinstance(each, str))


def flat_entry(
    entry: JsonValue, *, command: str = "command", arguments: str = "args", env: str = "env"
) -> Invocation | None:
    """The command of an entry with the usual keys, or with others for the same."""
    if not isinstance(entry, dict) or not isinstance(program := entry.get(command), str):
        return None
    words = strings(entry.get(arguments, []))
    return None if words is None else Invocation(program, words, pairs(entry.get(env)))


def read_only_tools(launch: Launch) -> tuple[str, ...]:
    """The names of a server's tools that change nothing."""
    from sandlot.evals.requests import load
    from sandlot.modes import UNSEEN, surface
    from sandlot.operations import catalog

    shown = [each.operation for each in surface(launch.mode, profile=launch.profile).tools]
    names = shown or [name for name, _, _ in catalog.LINES if name not in UNSEEN]
    return tuple(name for name in names if load(name).effect.read_only)
