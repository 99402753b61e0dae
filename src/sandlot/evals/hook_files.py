"""The folder a hook is written in, as the hook sees it: a copy inside, read-only, for as long as the hook runs.

Never a mount: a workspace keeps its mounts for life, and the folder of a suite holds what a target must not see: the
hidden tests, the graders, the expected answers.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import stat
import tarfile
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import IO

from sandlot.errors import SeedUnreadable, StartFailed, UsageError
from sandlot.evals.cases import Hook, WorkspacePlan
from sandlot.sdk import Workspace

__all__ = ["digest_of", "left_out_of", "unpacked"]

MOST_BYTES = 256 << 20
MOST_ENTRIES = 20_000
"""Of a hook's folder; more is no folder of a suite, but a home or a checkout."""
_NEVER = (".git", ".sandlot", "__pycache__")
_PLAIN = {"PATH": "/usr/bin:/bin"}
"""After a trial ~/.local/bin is what the target made it: none of its programs gets to see the folder."""
_INSIDE = "/tmp/sandlot-hook-"  # noqa: S108  the workspace's own /tmp: memory that no snapshot, fork or diff sees


def left_out_of(plan: WorkspacePlan) -> frozenset[str]:
    """Folders that a hook need not be shown, since they are in the workspace already."""
    local = (repo.url for repo in plan.repos if repo.local)
    named = [path for path in (plan.template, plan.path, *local) if path]
    return frozenset(named) | frozenset(map(os.path.realpath, named))


def _entries(folder: str, without: Collection[str]) -> Iterator[tuple[str, os.stat_result]]:
    """(path, facts) of what is shown, parents first, sorted; links are not followed."""
    pending, count = [folder], 0
    while pending:
        at = pending.pop()
        with os.scandir(at) as found:
            names = sorted(found, key=lambda entry: entry.name)
        for entry in names:
            info = entry.stat(follow_symlinks=False)
            if entry.name in _NEVER or entry.path in without:
                continue
            if stat.S_ISDIR(info.st_mode):
                pending.append(entry.path)
            elif not (stat.S_ISREG(info.st_mode) or stat.S_ISLNK(info.st_mode)):
                continue
            count += 1
            if count > MOST_ENTRIES:
                raise UsageError(
                    f"the folder {folder} is shown to its hooks and has more than {MOST_ENTRIES} entries",
                    hint="put the suite and its hooks into a folder of their own",
                )
            yield entry.path, info


def _pack(folder: str, without: Collection[str], to: IO[bytes]) -> None:
    total = 0
    with tarfile.open(fileobj=to, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for path, info in _entries(folder, without):
            member = tarfile.TarInfo(os.path.relpath(path, folder))
            member.mtime = int(info.st_mtime)
            if stat.S_ISDIR(info.st_mode):
                member.type, member.mode = tarfile.DIRTYPE, 0o755
            elif stat.S_ISLNK(info.st_mode):
                member.type, member.linkname = tarfile.SYMTYPE, os.readlink(path)
            else:
                member.mode = 0o555 if info.st_mode & 0o100 else 0o444
                with open(path, "rb") as file:
                    content = file.read(MOST_BYTES + 1)
                total += len(content)
                if total > MOST_BYTES:
                    raise UsageError(
                        f"the folder {folder} is shown to its hooks and holds more than {MOST_BYTES >> 20} MiB",
                        hint="put the suite and its hooks into a folder of their own",
                    )
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
                continue
            archive.addfile(member)


def digest_of(hook: Hook, without: Collection[str]) -> str:
    """Hash of all that the hook sees: names, contents, links, executable bits. Times do not count."""
    found = hashlib.sha256()
    try:
        for path, info in _entries(hook.folder, without):
            kind = stat.S_IFMT(info.st_mode) | (info.st_mode & 0o100 if stat.S_ISREG(info.st_mode) else 0)
            found.update(b"%s\0%o\0" % (os.fsencode(os.path.relpath(path, hook.folder)), kind))
            if stat.S_ISLNK(info.st_mode):
                found.update(os.fsencode(os.readlink(path)))
            elif stat.S_ISREG(info.st_mode):
                with open(path, "rb") as file:
                    found.update(hashlib.file_digest(file, "sha256").digest())
            found.update(b"\0")
    except OSError as error:
        raise SeedUnreadable(f"cannot read the hooks' folder {hook.folder}: {error.strerror}") from error
    return found.hexdigest()


@contextmanager
def unpacked(workspace: Workspace, hook: Hook, without: Collection[str]) -> Iterator[str]:
    """The folder's path inside while the block runs; afterwards it is gone. Raises StartFailed, SeedUnreadable."""
    inside = _INSIDE + os.urandom(8).hex()  # nothing that runs there can have prepared this name
    with contextlib.ExitStack() as stack:
        try:
            archive = stack.enter_context(tempfile.TemporaryFile(prefix="sandlot-hook-"))
            _pack(hook.folder, without, archive)
            archive.seek(0)  # writes what is left
        except OSError as error:
            raise SeedUnreadable(f"cannot copy the hooks' folder {hook.folder}: {error.strerror}") from error
        done = workspace.exec(
            ["/bin/sh", "-c", 'mkdir -m 700 -- "$1" && tar -x -p -C "$1" && find "$1" -type d -exec chmod 555 {} +',
             "sh", inside],
            cwd="/", stdin=archive, env=_PLAIN,
        )  # fmt: skip
    if done.command.outcome is None or done.command.outcome.exit_code != 0:
        raise StartFailed(f"the hooks' folder could not be shown inside: {done.stderr.text.strip()[-300:]}")
    try:
        yield inside
    finally:
        workspace.exec(
            ["/bin/sh", "-c", 'find "$1" -type d -exec chmod 700 {} + && rm -rf -- "$1"', "sh", inside],
            cwd="/", env=_PLAIN,
        )  # fmt: skip
