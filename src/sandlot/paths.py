"""Every path on disk, in one place.

Nothing else in the package joins a file name onto the state folder.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from sandlot.errors import StateUnwritable

__all__ = ["GenerationPaths", "Paths", "WorkspacePaths"]


@dataclass(frozen=True, slots=True)
class GenerationPaths:
    """One generation of a workspace: the private trees between two resets.

    ::

        g<N>/
        ├── workspace/{upper,work}   overlay storage    or  workspace/tree   copy storage
        ├── home/{upper,work}                           or  home/tree
        ├── data.img                 guest storage: the data disk; {workspace,home}/upper are copies from it
        ├── fetch.lock               flock: shared while somebody reads such a copy, exclusive while it is renewed
        └── asleep                   the copies were made of a workspace that has not run since
    """

    root: Path

    @property
    def socket(self) -> Path:
        return self.root / "agent.sock"

    @property
    def log(self) -> Path:
        return self.root / "agent.log"

    @property
    def gateway_log(self) -> Path:
        """What the network gateway complained about."""
        return self.root / "gateway.log"

    @property
    def disk(self) -> Path:
        return self.root / "data.img"

    @property
    def fetch_lock(self) -> Path:
        return self.root / "fetch.lock"

    @property
    def asleep(self) -> Path:
        return self.root / "asleep"

    def area(self, name: str) -> Path:
        """The folder of one area (``workspace`` or ``home``)."""
        return self.root / name


@dataclass(frozen=True, slots=True)
class WorkspacePaths:
    """One workspace's own folder.

    ::

        <id>/
        ├── lock                 flock: held while its life changes (start, reset, snapshot, delete)
        ├── record.json          mirror of the database row, from which `sandlot repair` rebuilds a lost database
        ├── secrets.json         values of its secrets, 0600: the only place on disk that holds them
        ├── trust/               certificates shown inside, read-only
        ├── agent.sock           the running agent's socket
        ├── agent.log            what the runtime printed, bounded
        ├── g<N>/                the current generation (older ones are on their way to trash)
        ├── commands/<n>/        stdout, stderr, exit of command n
        ├── denials.log          what its network policy refused, bounded
        └── patches/             full patches of answers that were capped
    """

    root: Path

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    @property
    def record(self) -> Path:
        return self.root / "record.json"

    @property
    def secrets(self) -> Path:
        return self.root / "secrets.json"

    @property
    def trust(self) -> Path:
        return self.root / "trust"

    @property
    def commands(self) -> Path:
        return self.root / "commands"

    @property
    def denials(self) -> Path:
        return self.root / "denials.log"

    @property
    def patches(self) -> Path:
        return self.root / "patches"

    def command(self, number: int) -> Path:
        return self.commands / str(number)

    def generation(self, number: int) -> GenerationPaths:
        return GenerationPaths(self.root / f"g{number}")

    @staticmethod
    def is_generation(entry: Path) -> bool:
        """Whether an entry of this folder is some generation's."""
        return entry.name.startswith("g") and entry.name[1:].isdigit()

    @property
    def record_draft(self) -> Path:
        """A fresh name for a record that is being written."""
        return self.root / f".record.{os.urandom(4).hex()}"

    @property
    def secrets_draft(self) -> Path:
        """A fresh name for secrets that are being written."""
        return self.root / f".secrets.{os.urandom(4).hex()}"

    @staticmethod
    def is_secrets_draft(entry: Path) -> bool:
        """Whether an entry of this folder is what somebody was killed while writing secrets."""
        return entry.name.startswith(".secrets.")

    @staticmethod
    def is_draft(entry: Path) -> bool:
        """Whether an entry of this folder is a record, or secrets, that somebody was killed while writing."""
        return entry.name.startswith((".record.", ".secrets."))


@dataclass(frozen=True, slots=True)
class Paths:
    """The state and cache folders.

    ::

        <state>/                         $SANDLOT_STATE_DIR, else $XDG_STATE_HOME/sandlot, else ~/.local/state/sandlot
        ├── state.db                     SQLite, WAL
        ├── bases.lock                   flock: shared while a base is being taken into use, exclusive for prune
        ├── bases/<id>.json              one base: its layers, origin, sizes; written last: the commit point
        ├── sources/<fingerprint>        which base a source with this fingerprint gave; <key>.last: its last state
        ├── layers/<id>/                 immutable trees: layer.json, workspace/, home/, manifest
        ├── building/                    half-made layers; published by one rename into layers/
        ├── empty/                       an empty folder: the lowest layer of an area that has none
        ├── environments/<digest>/       one root file system: tree/, manifest, environment.json
        ├── environment-names/<name>     which digest an environment's name means; the name is quoted as in URLs
        ├── environment-keys/<sha256>    which digest an image, or a setup on a parent, gave
        ├── workspaces/<id>/             see WorkspacePaths
        ├── hosts/<hash of a path>/      one file of a chat host before and after our last change: see hosts/records.py
        ├── exports.json                 what chats have exported: no suite of evals takes it for the user's
        ├── evals/                       locks of the prepared bases of evals, and of folders evals work in; hashes
        │                                of templates
        └── trash/                       on its way out; removed in the background and by `sandlot repair`
    <cache>/                             $XDG_CACHE_HOME/sandlot, else ~/.cache/sandlot (in <state> if that was named)
        ├── agent/<hash>/                the agent's code, compiled for the interpreter that runs it
        ├── python/<hash>/               an interpreter with its loader and libraries, for environments without one
        ├── packages/                    package lists and packages of the distribution, for environments
        ├── devices/                     nodes shown inside instead of the host's, when root is the caller
        └── probes.json                  what this machine's runtimes answered, by boot id, kernel and binary
    """

    state: Path
    cache: Path

    @classmethod
    def default(cls) -> Paths:
        """The paths of the calling user, from the environment. Raises StateUnwritable when that names no folder."""
        named = os.environ.get("SANDLOT_STATE_DIR")
        if named:
            state = Path(named).absolute()
            return cls(state=state, cache=state / "cache")
        home = os.environ.get("HOME") or os.path.expanduser("~")  # the latter asks the password database
        state_home = os.environ.get("XDG_STATE_HOME") or os.path.join(home, ".local", "state")
        cache_home = os.environ.get("XDG_CACHE_HOME") or os.path.join(home, ".cache")
        if home == "~" and (state_home.startswith("~") or cache_home.startswith("~")):
            raise StateUnwritable(
                "there is no folder for sandlot's state: HOME is not set and this user has no home",
                hint="point SANDLOT_STATE_DIR at a folder you can write",
            )
        return cls(state=Path(state_home).absolute() / "sandlot", cache=Path(cache_home).absolute() / "sandlot")

    @classmethod
    def at(cls, state: Path) -> Paths:
        """The paths below one folder, cache included (tests, SDK users with a folder of their own)."""
        state = state.absolute()
        return cls(state=state, cache=state / "cache")

    @property
    def database(self) -> Path:
        return self.state / "state.db"

    @property
    def bases_lock(self) -> Path:
        return self.state / "bases.lock"

    @property
    def bases(self) -> Path:
        return self.state / "bases"

    @property
    def sources(self) -> Path:
        return self.state / "sources"

    @property
    def devices(self) -> Path:
        return self.cache / "devices"

    @property
    def layers(self) -> Path:
        return self.state / "layers"

    @property
    def building(self) -> Path:
        return self.state / "building"

    @property
    def environments(self) -> Path:
        return self.state / "environments"

    @property
    def environment_names(self) -> Path:
        return self.state / "environment-names"

    @property
    def environment_keys(self) -> Path:
        return self.state / "environment-keys"

    @property
    def python(self) -> Path:
        return self.cache / "python"

    @property
    def packages(self) -> Path:
        return self.cache / "packages"

    def environment(self, digest: str) -> Path:
        return self.environments / digest

    @property
    def empty(self) -> Path:
        return self.state / "empty"

    @property
    def workspaces(self) -> Path:
        return self.state / "workspaces"

    @property
    def hosts(self) -> Path:
        return self.state / "hosts"

    @property
    def evals(self) -> Path:
        return self.state / "evals"

    @property
    def trash(self) -> Path:
        return self.state / "trash"

    def workspace(self, workspace_id: str) -> WorkspacePaths:
        return WorkspacePaths(self.workspaces / workspace_id)

    def layer(self, layer_id: str) -> Path:
        return self.layers / layer_id

    def ensure(self) -> None:
        """Make the folders, private to the user.

        Raises StateUnwritable when that is not possible.
        """
        try:
            if self.trash.is_dir() and self.cache.is_dir():
                return
            for folder in (self.state, self.cache):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (
                self.bases,
                self.sources,
                self.layers,
                self.building,
                self.empty,
                self.workspaces,
                self.trash,  # last: its presence says that all the others are there
            ):
                folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise StateUnwritable(
                f"cannot make the state folder {self.state}: {error.strerror}",
                hint="point SANDLOT_STATE_DIR at a folder you can write",
            ) from error
