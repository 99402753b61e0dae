"""receive: bring changes of the host into the tree, all or none."""

from __future__ import annotations

import os
import stat

from sandlot.guest.tools import ToolError, bulk, parcel
from sandlot.guest.tools.arguments import Arguments, Naming, display, failure
from sandlot.guest.tools.interruption import Interruptible
from sandlot.guest.tools.place import Blocked, Place
from sandlot.guest.tools.reading import kind_of, open_regular
from sandlot.guest.tools.swap import Swap, recover_in
from sandlot.guest.tools.tree import open_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from sandlot.guest.tools import Emit

MOST_DETAILS = 200


def receive(args: list[bytes], descriptor: int, _emit: Emit) -> list[bytes]:
    """Apply a parcel (see parcel.py for its layout) that ``bulk`` carries from its current position.

    Arguments: root; force (1: do not check the expectations; a parent that is no folder stays a conflict).

    Items: none.

    Result: files written; symlinks written; folders made; paths deleted (one that is not there is not counted);
    folders that were to be deleted but are kept as they hold something else.

    First everything is staged and all expectations are checked: when one does not hold, sync_conflict names all paths
    in its details and nothing was changed. Then the paths are changed one after the other; a failure, SIGTERM or the
    client's departure in between puts everything back (after a SIGKILL ``recover`` does). No symlink is followed.
    """
    fields = Arguments(args)
    root = fields.path("root")
    force = fields.flag("force")
    bulk.need(descriptor)
    with Naming(root), Interruptible() as interruptible:
        top = open_path(root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            recover_in(top)
            with Swap(top, interruptible) as swap:
                delivery = _Delivery(swap, force)
                delivery.stage(parcel.Inbox(descriptor))
                delivery.carry_out()
                swap.finish()
        finally:
            os.close(top)
    counts = (delivery.files, delivery.symlinks, delivery.folders, delivery.deleted, delivery.kept)
    return [b"%d" % count for count in counts]


class _Delivery:
    def __init__(self, swap: Swap, force: bool) -> None:
        self.swap = swap
        self.force = force
        self.files = self.symlinks = self.folders = self.deleted = self.kept = 0
        self._conflicts: list[str] = []
        self._hidden: list[tuple[bytes, bytes]] = []
        """(path that must not exist, its parent that is no folder): fine if the parcel deals with that parent."""
        self._seen: dict[bytes, tuple[int, ...]] = {}
        self._deletions: list[bytes] = []
        self._folders: list[tuple[bytes, int, int]] = []
        self._staged: list[tuple[bytes, bytes]] = []
        """(name in the stage, path)"""

    def stage(self, inbox: parcel.Inbox) -> None:
        """Take in the whole parcel, changing nothing outside the stage. Raises ToolError for conflicts."""
        for kind, record in inbox.records():
            fields = Arguments(record)
            path = _checked(fields.path("path"))
            if kind == parcel.EXPECT:
                self._expect(path, fields)
                continue
            if kind == parcel.DELETE:
                self._deletions.append(path)
            elif kind == parcel.FOLDER:
                self._folders.append((path, fields.mode("mode") or 0, fields.number("mtime", -(2**63), 2**63 - 1)))
            elif kind == parcel.FILE:
                self._stage_file(path, fields, inbox)
            elif kind == parcel.SYMLINK:
                mtime = fields.number("mtime", -(2**63), 2**63 - 1)
                number = self.swap.spare()
                with Naming(path):
                    os.symlink(fields.path("target"), number, dir_fd=self.swap.new)
                    os.utime(number, ns=(mtime, mtime), dir_fd=self.swap.new, follow_symlinks=False)
                self._staged.append((number, path))
                self.symlinks += 1
            else:
                raise ToolError("invalid_argument", f"the parcel is malformed: record type {kind}")
        for path, parent in self._hidden:
            if parent not in self._seen:
                self._conflicts.append(f"{display(path)}: {self._what(parent)}")
        if self._conflicts:
            rest = len(self._conflicts) - MOST_DETAILS
            details = self._conflicts[:MOST_DETAILS] + ([f"and {rest} more"] if rest > 0 else [])
            raise ToolError("sync_conflict", "the workspace changed too; nothing was pushed", details)

    def _stage_file(self, path: bytes, fields: Arguments, inbox: parcel.Inbox) -> None:
        mode = fields.mode("mode") or 0
        mtime = fields.number("mtime", -(2**63), 2**63 - 1)
        size = fields.number("size", 0, 2**63 - 1)
        number = self.swap.spare()
        with Naming(path):
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
            file = os.open(number, flags, 0o600, dir_fd=self.swap.new)
            try:
                for piece in inbox.content(size):
                    bulk.write_all(file, piece)
                os.fchmod(file, mode)
                os.utime(file, ns=(mtime, mtime))
            finally:
                os.close(file)
        self._staged.append((number, path))
        self.files += 1

    def _expect(self, path: bytes, fields: Arguments) -> None:
        kind = fields.choice("kind", (b"", b"f", b"d", b"l"))
        size = fields.number("size", 0, 2**63 - 1)
        digest = fields.raw("sha256")
        if self.force:
            return
        try:
            with Naming(path):
                self._seen[path], conflict = _compare(self.swap.place, path, kind, size, digest)
        except Blocked as error:
            conflict = f"was deleted in the workspace: {self._what(error.parent)}" if kind else ""
            if not kind:
                self._hidden.append((path, error.parent))
        if conflict:
            self._conflicts.append(f"{display(path)}: {conflict}")

    def _what(self, parent: bytes) -> str:
        info = self.swap.place.info(parent)
        return f"{display(parent)} is {'gone' if info is None else kind_of(info.st_mode)}"

    def carry_out(self) -> None:
        """Change the tree. Raises ToolError; the caller undoes what was done."""
        # What lies deeper goes first, so that folders become empty before their turn.
        for path in sorted(self._deletions, key=lambda path: path.split(b"/"), reverse=True):
            with _Step(self.swap, path):
                self._delete(path)
        for path, mode, _ in self._folders:
            with _Step(self.swap, path):
                self._make_folder(path, mode)
        for number, path in self._staged:
            with _Step(self.swap, path):
                self._unchanged(path)
                self.swap.make_parents(path)
                self.swap.put(number, path)
        for path, mode, mtime in reversed(self._folders):
            with _Step(self.swap, path):
                self.swap.chmod_folder(path, mode)
                folder, name = self.swap.place.parent(path)
                os.utime(name, ns=(mtime, mtime), dir_fd=folder, follow_symlinks=False)

    def _delete(self, path: bytes) -> None:
        info = self.swap.place.info(path)
        if info is None:
            return
        if stat.S_ISDIR(info.st_mode):
            if not self.swap.remove_folder(path):
                self.kept += 1
                return
        else:
            self._unchanged(path)
            self.swap.set_aside(path)
        self._seen.pop(path, None)
        self.deleted += 1

    def _make_folder(self, path: bytes, mode: int) -> None:
        info = self.swap.place.info(path)
        if info is not None and not stat.S_ISDIR(info.st_mode):
            self._unchanged(path)
            self.swap.set_aside(path)
            self._seen.pop(path, None)
            info = None
        if info is None:
            self.swap.make_parents(path)
            self.swap.make_folder(path, 0o700)
            self.folders += 1
        else:
            self.swap.chmod_folder(path, mode | 0o700)  # so that it can be filled; its own mode comes last

    def _unchanged(self, path: bytes) -> None:
        """Refuse when a path was changed after its expectation was checked."""
        if path in self._seen and self._seen[path] != _look(self.swap.place.info(path)):
            raise _conflict(path, "was changed just now")


class _Step:
    """A block that changes one path: what stops it is said with the path."""

    def __init__(self, swap: Swap, path: bytes) -> None:
        self._swap = swap
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if isinstance(error, Blocked):
            info = self._swap.place.info(error.parent)
            what = "a folder" if info is None else kind_of(info.st_mode)
            raise _conflict(self._path, f"{display(error.parent)} is {what}") from error
        if isinstance(error, IsADirectoryError):
            raise _conflict(self._path, "is a folder that holds something") from error
        if isinstance(error, OSError):
            raise failure(self._path, error) from error


def _conflict(path: bytes, reason: str) -> ToolError:
    details = [f"{display(path)}: {reason}"]
    return ToolError("sync_conflict", "the workspace changed too; nothing was pushed", details)


def _checked(path: bytes) -> bytes:
    if path.startswith(b"/") or any(part in (b"", b".", b"..") for part in path.split(b"/")):
        raise ToolError("unsafe_path", f"{display(path)} is not a plain relative path")
    return path


def _look(info: os.stat_result | None) -> tuple[int, ...]:
    """What tells that a path was not touched in between; () for nothing there."""
    if info is None:
        return ()
    if stat.S_ISDIR(info.st_mode):
        return (info.st_ino,)  # its times change with what we do in it
    return (info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)


def _compare(place: Place, path: bytes, kind: bytes, size: int, digest: bytes) -> tuple[tuple[int, ...], str]:
    """(what is there, how it differs from the expectation or empty). Raises OSError, Blocked."""
    info = place.info(path)
    if info is None:
        return (), "was deleted in the workspace" if kind else ""
    look = _look(info)
    if not kind:
        return look, "is new in the workspace"
    tests = {b"f": stat.S_ISREG, b"d": stat.S_ISDIR, b"l": stat.S_ISLNK}
    if not tests[kind](info.st_mode):
        return look, f"is {kind_of(info.st_mode)} in the workspace"
    if kind == b"d":
        return look, ""
    if kind == b"f" and info.st_size != size:
        return look, "was changed in the workspace"
    if digest and _digest(place, path, kind) != digest:
        return look, "was changed in the workspace"
    return look, ""


def _digest(place: Place, path: bytes, kind: bytes) -> bytes:
    from hashlib import sha256

    folder, name = place.parent(path)
    if kind == b"l":
        return sha256(os.readlink(name, dir_fd=folder)).hexdigest().encode()
    total = sha256()
    file, _ = open_regular(folder, name, path, os.O_NOFOLLOW)
    try:
        while chunk := os.read(file, bulk.CHUNK):
            total.update(chunk)
    finally:
        os.close(file)
    return total.hexdigest().encode()
