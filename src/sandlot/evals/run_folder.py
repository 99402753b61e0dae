"""A run on disk: append-only, so that a run killed at any moment is either as it was before a trial or after it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sandlot.errors import RunBusy, RunNotFound, StateCorrupt, StateUnwritable, TargetExists
from sandlot.evals.manifest import Manifest
from sandlot.evals.outcomes import Trial, TrialResult
from sandlot.evals.trial_records import plain, read_result, transcript, write_result

__all__ = ["RunFolder", "Session"]

PROBE_S = 0.5
"""Who only asks whether a run is on its way (``busy``) holds its lock for a moment, which is nobody's refusal."""
_NO_SLUG = re.compile(r"[^A-Za-z0-9._-]+")


class RunFolder:
    """The folder of one run.

    ::

        <run>/
        ├── run.json                     the manifest: written first; replaced as a whole when something becomes known
        ├── lock                         flock: held by the process that runs it; the kernel drops it with its holder
        ├── sessions/<n>.json            one for each start; <n>.end.json: how that ended
        └── trials/<name>/<attempt>.json the result: renamed into place last, which is the commit point of a trial
                          <attempt>.patch .transcript.jsonl .log   what it left, written before

    Names of suites, tests and targets are somebody else's words: they become file names only through ``_name``.
    Nothing here is shown inside a workspace.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def create(cls, root: Path, manifest: Manifest) -> RunFolder:
        """A new one. Raises TargetExists, StateUnwritable."""
        folder = cls(root)
        try:
            root.mkdir(parents=True, exist_ok=True)
            if any(root.iterdir()):
                raise TargetExists(f"{root} is not empty", hint="name another --output; a run never shares its folder")
            for name in ("trials", "sessions"):
                (root / name).mkdir()
        except OSError as error:
            raise _unwritable(root, error) from error
        folder._write("run.json", manifest.to_json(), sync=True)
        return folder

    @classmethod
    def open(cls, root: Path) -> RunFolder:
        """One that exists. Raises RunNotFound."""
        folder = cls(root)
        if not folder.exists:
            raise RunNotFound(f"there is no run in {root}")
        return folder

    @property
    def exists(self) -> bool:
        """Whether a run is there, and may be looked at."""
        try:
            return (self.root / "run.json").is_file()
        except OSError:  # not ours to read, or no name that a folder can have
            return False

    @property
    def manifest(self) -> Manifest:
        """What was to be run, and what is known of it by now. Raises StateCorrupt."""
        return Manifest.from_json(self._read("run.json"))

    def replace_manifest(self, manifest: Manifest) -> None:
        """Keep what has become known; call it with the lock held. Raises StateUnwritable."""
        self._write("run.json", manifest.to_json(), sync=True)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Be the one process that runs it. Raises RunBusy, StateUnwritable."""
        try:
            descriptor = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _unwritable(self.root, error) from error
        try:
            end = time.monotonic() + PROBE_S
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError as error:
                    if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                        raise _unwritable(self.root, error) from error
                    if time.monotonic() > end:
                        raise RunBusy(f"run {self.root.name} is being run by another process") from error
                time.sleep(0.01)
            yield
        finally:
            os.close(descriptor)

    @property
    def busy(self) -> bool:
        """Whether a process runs it at this moment."""
        try:
            descriptor = os.open(self.root / "lock", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(descriptor)
        return False

    def save(self, result: TrialResult, *, patch: bytes = b"") -> None:
        """Keep a trial's result, and what it left; afterwards it has happened. Raises StateUnwritable."""
        name = _name(result.trial)
        start = f"trials/{name}/{max(self._attempts(name), default=0) + 1}"
        lines = transcript(result.answer) if result.answer is not None else []
        log = result.answer.log if result.answer is not None else ""
        left = {
            "patch": patch,
            "transcript.jsonl": "".join(json.dumps(line) + "\n" for line in lines).encode(),
            "log": log.encode("utf-8", "backslashreplace"),
        }
        try:
            (self.root / "trials" / name).mkdir(exist_ok=True)
            for kind in [kind for kind, content in left.items() if not content]:
                # Of a process that was killed just before its result was there: it is not about this attempt.
                for old in (self.root / f"{start}.{kind}", self._draft(f"{start}.{kind}")):
                    old.unlink(missing_ok=True)
        except OSError as error:
            raise _unwritable(self.root, error) from error
        for kind, content in left.items():
            if content:
                self._put(f"{start}.{kind}", content)
        self._write(f"{start}.json", write_result(result))

    def result(self, trial: Trial) -> TrialResult | None:
        """How a trial ended, by its last attempt; None: it has not. A file cut off by a crash of the machine is none.

        Raises StateCorrupt when a file holds another trial than its name says.
        """
        name = _name(trial)
        for attempt in reversed(self._attempts(name)):
            try:
                record = json.loads((self.root / "trials" / name / f"{attempt}.json").read_bytes())
                found = read_result(record)
            except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
                continue
            if found.trial != trial:
                raise StateCorrupt(f"trials/{name}/{attempt}.json is not about {trial.key}", hint="start a new run")
            return found
        return None

    def results(self, trials: Sequence[Trial]) -> dict[str, TrialResult]:
        """Of those that have ended, by their keys."""
        found = ((trial.key, self.result(trial)) for trial in trials)
        return {key: result for key, result in found if result is not None}

    def attempts(self, trial: Trial) -> int:
        """How often a trial has been run to its end."""
        return len(self._attempts(_name(trial)))

    def place_of(self, trial: Trial) -> Path:
        """The folder with what a trial left."""
        return self.root / "trials" / _name(trial)

    def sessions(self) -> list[Session]:
        """Every start, in order."""
        found = []
        for number in range(1, 100_000):
            if not (self.root / f"sessions/{number}.json").exists():
                break
            found.append(Session(self, number))
        return found

    def begin(self, facts: object) -> Session:
        """Note that a process starts to run it; call it with the lock held. Raises StateUnwritable."""
        session = Session(self, len(self.sessions()) + 1)
        self._write(f"sessions/{session.number}.json", plain(facts))
        return session

    def _attempts(self, name: str) -> list[int]:
        try:
            entries = os.listdir(self.root / "trials" / name)
        except (FileNotFoundError, NotADirectoryError):
            return []
        stems = (entry.removesuffix(".json") for entry in entries if entry.endswith(".json"))
        return sorted(int(stem) for stem in stems if stem.isdecimal())

    def _read(self, name: str) -> dict[str, Any]:
        try:
            found = json.loads((self.root / name).read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            raise StateCorrupt(f"{self.root / name} cannot be read: {error}", hint="start a new run") from error
        if not isinstance(found, dict):
            raise StateCorrupt(f"{self.root / name} holds no object", hint="start a new run")
        return found

    def _write(self, name: str, value: object, *, sync: bool = False) -> None:
        self._put(name, json.dumps(value, separators=(",", ":"), allow_nan=False).encode() + b"\n", sync=sync)

    def _put(self, name: str, content: bytes, *, sync: bool = False) -> None:
        """All of it or nothing, under a name that no reader looks at until it is renamed.

        ``sync``: over a power cut as well. The manifest needs that, without it the run is lost; a trial is run again.
        """
        path, draft = self.root / name, self._draft(name)
        try:
            with draft.open("wb") as file:
                file.write(content)
                if sync:
                    file.flush()
                    os.fsync(file.fileno())
            draft.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                draft.unlink()
            raise _unwritable(path, error) from error

    def _draft(self, name: str) -> Path:
        """Always the same: what a kill leaves there, the next try writes over."""
        path = self.root / name
        return path.with_name(f".{path.name}.draft")


class Session:
    """One start of a run, until its end."""

    def __init__(self, folder: RunFolder, number: int) -> None:
        self._folder = folder
        self.number = number

    @property
    def facts(self) -> dict[str, Any]:
        """What was noted at its start."""
        return self._folder._read(f"sessions/{self.number}.json")

    @property
    def end(self) -> dict[str, Any] | None:
        """What was noted at its end; None: it was killed, or goes on, or the machine crashed while it was written."""
        try:
            return self._folder._read(f"sessions/{self.number}.end.json")
        except StateCorrupt:
            return None

    @property
    def ending(self) -> str:
        """In a word; empty: there is none."""
        return str((self.end or {}).get("ending", ""))

    @property
    def reason(self) -> str:
        """Why it ended early, as a sentence; empty: it did not."""
        return str((self.end or {}).get("reason", ""))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What went wrong without spoiling a trial."""
        said = (self.end or {}).get("warnings")
        return tuple(str(each) for each in said) if isinstance(said, list) else ()

    def finish(self, facts: object) -> None:
        """Note how it ended."""
        self._folder._write(f"sessions/{self.number}.end.json", plain(facts))


def _name(trial: Trial) -> str:
    """A file name for any words: readable as far as they allow, distinct by a digest of the whole key."""
    readable = _NO_SLUG.sub("_", f"{trial.suite}.{trial.test}.{trial.target}").strip("._")[:80]
    digest = hashlib.sha256("\0".join((trial.suite, trial.test, trial.target)).encode("utf-8", "surrogatepass"))
    return f"{readable or 'trial'}-{digest.hexdigest()[:10]}.{trial.number}"


def _unwritable(path: Path, error: OSError) -> StateUnwritable:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    hint = "make room, then finish it: sandlot eval resume RUN" if full else "name another folder with --output"
    return StateUnwritable(f"cannot write {path}: {error.strerror or error}", hint=hint)
