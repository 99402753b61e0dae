"""The storage of a guest, from inside and as its root: layers that the host sends, and the disk of private changes.

::

    /run/sandlot/layers/<name>              warm: in memory, kept by templates and their clones
    /run/sandlot/disk                       the data disk
    /run/sandlot/disk/layers/<name>         cold: on the data disk
    /run/sandlot/disk/areas/<area>/upper    what the workspace changes, e.g. <area> = home-agent
    /run/sandlot/disk/areas/<area>/work

A template has mounted a new disk, and areas of the layers that it holds: mounting for the first time takes an emulated
guest a tenth of a second. Its clones go on with copies of that disk. One that has a disk already, or needs another,
mounts that above.

``serve`` answers the requests of wire/layers.py on one connection to the host, until that ends. It runs outside of the
agent's reach: in a process of the guest's own, which nobody of the workspace sees. (Import this file in the bridge
before a template is saved: its clones need not load it then.) The overlays are mounted without
``userxattr``, so overlayfs's marks are ``trusted.*`` attributes, which no process of the workspace can make.
"""

from __future__ import annotations

import contextlib
import os

from sandlot.guest.building import MERGED
from sandlot.guest.packing import Packing
from sandlot.guest.unpacking import FOLDER, LayerError, Reader, Unpacking
from sandlot.wire import frames
from sandlot.wire import layers as wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    import ctypes
    from collections.abc import Iterator

NEW_DISK = "/dev/vdb"
OWN_DISK = "/dev/vdc"
ROOT_FOLDER = "/run/sandlot"
DETACH = 2  # umount2(2)
KEPT_BACK = 4096
"""Blocks that ext4 keeps back by itself, at most."""
USER_ID = 1000
ROOT = b"/"
MS_NOSUID, MS_NODEV, MS_NOATIME = 2, 4, 1024  # mount(2)
WARM_BYTES = 1 << 30
"""The most that warm layers may take: the host sends less (workspaces/storage.py)."""
_OPTIONS = "commit=1,barrier=0,noinit_itable"
"""Nothing waits for flushes, which stop at the host; and nothing zeroes in the background what is a hole anyway."""
_SOON = "100"
"""Hundredths of a second after which what was written goes to the disk: a killed guest loses little."""


class Storage:
    """The places of one guest. ``disk``: the block device of its data disk, unless it has one of its ``own``."""

    def __init__(
        self,
        disk: str = NEW_DISK,
        own: str = OWN_DISK,
        *,
        root: str = ROOT_FOLDER,
        owner: int = USER_ID,
        opaque: str = "trusted.overlay.opaque",
    ) -> None:
        self.disk = disk
        self.own = own
        self.owner = owner
        self.opaque = opaque
        self.warm = os.path.join(root, "layers")
        self.mounted = os.path.join(root, "disk")
        self.cold = os.path.join(self.mounted, "layers")

    def prepare(self) -> None:
        """Mount what clones have then: for a template."""
        os.makedirs(self.warm, mode=0o700, exist_ok=True)
        os.makedirs(self.mounted, mode=0o700, exist_ok=True)
        for name in ("dirty_expire_centisecs", "dirty_writeback_centisecs"):
            with contextlib.suppress(OSError), open("/proc/sys/vm/" + name, "w") as file:
                file.write(_SOON)
        if not _is_mounted(self.warm):
            mount("layers", self.warm, "tmpfs", MS_NOSUID | MS_NODEV, "mode=700,nr_inodes=0,size=%d" % WARM_BYTES)
        self.open_disk()

    def open_disk(self) -> None:
        """Mount the data disk, unless there is one."""
        if not _is_mounted(self.mounted):
            self._mount(self.disk)

    def open_own(self) -> None:
        """Mount the guest's own disk, above the template's; its journal is replayed if it was not unmounted."""
        self._mount(self.own)

    def _mount(self, disk: str) -> None:
        mount(disk, self.mounted, "ext4", MS_NOSUID | MS_NODEV | MS_NOATIME, _OPTIONS)
        os.chmod(self.mounted, 0o700)
        _ensure(self.cold)

    def layers(self) -> list[bytes]:
        """Names of the layers that are complete here, on the data disk, too."""
        self.open_disk()
        found: set[str] = set()
        for place in (self.warm, self.cold):
            with contextlib.suppress(FileNotFoundError):
                found.update(name for name in os.listdir(place) if not name.startswith("."))
        return sorted(os.fsencode(name) for name in found)

    def put(self, name: bytes, place: bytes, reader: Reader) -> Unpacking:
        """Take in a layer; half of one is never seen. Raises LayerError, OSError."""
        if place == wire.COLD:
            self.open_disk()
        folder = os.fsencode(self.warm if place == wire.WARM else self.cold)
        building = os.path.join(folder, b"." + name)
        links = os.path.join(folder, b".links-" + name)
        for each in (building, links):
            _remove(each)
            os.mkdir(each, 0o700)
        target, scratch = os.open(building, FOLDER), os.open(links, FOLDER)
        try:
            unpacking = _Unpacking(reader, target, scratch, opaque=self.opaque, unmasked=True)
            for ours in (target, scratch):
                if self.owner >= 0:
                    os.fchown(ours, self.owner, self.owner)
            with _being(self.owner):
                unpacking.run()
        finally:
            os.close(target)
            os.close(scratch)
        _remove(links)
        if place == wire.COLD:
            os.sync()  # or a kill could leave the layer with empty files
        os.rename(building, os.path.join(folder, name))
        return unpacking

    def assemble(self, target: bytes, lowers: list[bytes]) -> None:
        """Mount an area: the layers, lowest first, and on top what the workspace changes."""
        self.open_disk()
        upper, work = self._area(target)
        stack = [self._layer(name) for name in lowers]
        if target == ROOT:  # an environment's, which a setup is to change: the guest's own, without what is mounted
            target, stack = os.fsencode(MERGED), [ROOT]
        if not stack:
            stack = [os.path.join(os.fsencode(self.warm), b".empty")]
            os.makedirs(stack[0], exist_ok=True)
        if not os.path.isdir(target):
            os.makedirs(target)
        elif _is_mounted(os.fsdecode(target)):  # the template's, which has other layers, or lies on another disk
            unmount(os.fsdecode(target), DETACH)
        options = b"lowerdir=%s,upperdir=%s,workdir=%s" % (b":".join(reversed(stack)), upper, work)
        mount("sandlot", os.fsdecode(target), "overlay", MS_NOSUID | MS_NODEV | MS_NOATIME, self.options(options))

    def options(self, places: bytes) -> str:
        """How overlays are mounted: what the host cannot read back in an upper stays off."""
        return os.fsdecode(places) + ",redirect_dir=off,index=off,metacopy=off,xino=off"

    def _area(self, target: bytes) -> tuple[bytes, bytes]:
        name = target.strip(b"/").replace(b"/", b"-") or b"root"
        areas = os.fsencode(self.mounted) + b"/areas"
        area = areas + b"/" + name
        upper, work = area + b"/upper", area + b"/work"
        if not os.path.isdir(work):
            for folder in (areas, area, upper):
                _ensure(folder)
            os.chmod(upper, 0o755)  # noqa: S103  its mode is the mode of the root that shows inside
            if self.owner >= 0 and target != ROOT:
                os.chown(upper, self.owner, self.owner)
            os.mkdir(work)
        return upper, work

    def _layer(self, name: bytes) -> bytes:
        for place in (self.warm, self.cold):
            path = os.path.join(os.fsencode(place), name)
            if os.path.isdir(path):
                return path
        raise LayerError("there is no layer %r here" % name)

    def take(self, target: bytes, connection: _socket.socket) -> None:
        """Send what the workspace has changed in an area. Raises OSError."""
        upper = os.open(self._area(target)[0], FOLDER)
        try:
            Packing(connection.sendall, opaque=self.opaque).run(upper)
        finally:
            os.close(upper)


class _Unpacking(Unpacking):
    def mark_opaque(self, folder: int) -> None:
        """Overlayfs's own marks are root's."""
        with _being(0 if os.getuid() == 0 else -1):
            super().mark_opaque(folder)


@contextlib.contextmanager
def _being(user: int) -> Iterator[None]:
    """What the block makes belongs to this user and group, without a call for each; -1: to whoever we are."""
    before = os.geteuid()
    if user in (-1, before):
        yield
        return
    _become(user)
    try:
        yield
    finally:
        _become(before)


def _become(user: int) -> None:
    os.seteuid(0)  # only root may become somebody else
    os.setegid(user)
    os.seteuid(user)


def serve(connection: _socket.socket, _words: list[bytes]) -> None:
    """The job ``storage`` (see jobs.py). It must run where the bridge does: what it mounts is for the agent."""
    answer_all(connection, Storage())


_controls: list[int] = []


def find_controls(folder: str = "/sys/fs/ext4") -> None:
    """Keep a way to what the kernel lets one set of an ext4: for a template, before its /sys is unmounted."""
    _controls.append(os.open(folder, FOLDER))


def hold_to(room: int) -> None:
    """No more than so many bytes of the disk can be filled from now on, by nobody. Raises OSError.

    The kernel keeps the rest of the blocks back for itself (Documentation/admin-guide/ext4.rst, reserved_clusters), so
    all disks can be of one size, and one can be mounted before a limit is known.
    """
    mounted = ROOT_FOLDER + "/disk"
    disk = os.statvfs(mounted)
    kept = disk.f_blocks - room // disk.f_frsize
    if kept <= KEPT_BACK:
        return
    is_own = os.stat(mounted).st_dev == os.stat(OWN_DISK).st_rdev
    name = os.path.basename(OWN_DISK if is_own else NEW_DISK) + "/reserved_clusters"
    file = os.open(name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=_controls[0])
    try:
        os.write(file, b"%d" % kept)
    finally:
        os.close(file)


def answer_all(connection: _socket.socket, storage: Storage) -> None:
    """Answer the host on a connected stream socket until it hangs up. The caller closes the connection."""
    reader = Reader(lambda size: connection.recv(size))
    os.umask(0)
    for kind, fields in _requests(reader):
        try:
            answer = _answer(storage, kind, fields, reader, connection)
        except OSError as error:
            text = "%s: %s" % (error.strerror, os.fsdecode(error.filename)) if error.filename else str(error.strerror)
            _refuse(connection, error.errno or 0, os.fsencode(text))
            return  # what is left of the request in the connection has no meaning
        except LayerError as error:
            _refuse(connection, 0, str(error).encode("utf-8", "replace"))
            return
        if answer is not None:
            connection.sendall(frames.encode(wire.DONE, 0, answer))


def _refuse(connection: _socket.socket, number: int, text: bytes) -> None:
    with contextlib.suppress(OSError):  # the host may have hung up, which was the error
        connection.sendall(frames.encode(wire.FAILED, 0, [b"%d" % number, text[:2000]]))


def _requests(reader: Reader) -> Iterator[tuple[int, list[bytes]]]:
    while True:
        try:
            kind, _, length = frames.decode_header(reader.exactly(frames.HEADER.size))
            yield kind, frames.decode_fields(reader.exactly(length))
        except (LayerError, frames.FrameError, ConnectionError):
            return  # the host has hung up


def _answer(
    storage: Storage, kind: int, fields: list[bytes], reader: Reader, connection: _socket.socket
) -> list[bytes] | None:
    if kind == wire.LAYERS:
        return storage.layers()
    if kind == wire.OPEN_OWN:
        storage.open_own()
        return []
    if kind == wire.PUT:
        done = storage.put(fields[0], fields[1], reader)
        return [b"%d" % done.entries, b"%d" % done.bytes]
    if kind == wire.ASSEMBLE:
        at = 0
        while at < len(fields):
            count = int(fields[at + 1])
            storage.assemble(fields[at], fields[at + 2 : at + 2 + count])
            at += 2 + count
        return []
    if kind == wire.TAKE:
        storage.take(fields[0], connection)
        return None
    if kind == wire.SYNC:
        os.sync()
        return []
    raise LayerError("unknown request %d" % kind)


# os.makedirs and os.path.ismount do much more than is needed, all of which an emulated guest does for the first time.


def _ensure(folder: str | bytes) -> None:
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder)


def _is_mounted(place: str) -> bool:
    return os.stat(place).st_dev != os.stat(place + "/..").st_dev


def _remove(folder: bytes) -> None:
    """Remove a folder of ours, if it is there: half a layer, or names that are not needed any more."""
    for where, folders, files in os.walk(folder, topdown=False):
        for name in files:
            os.unlink(os.path.join(where, name))
        for name in folders:
            path = os.path.join(where, name)
            (os.unlink if os.path.islink(path) else os.rmdir)(path)
    with contextlib.suppress(FileNotFoundError):
        os.rmdir(folder)


def _libc() -> ctypes.CDLL:
    import ctypes

    return ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: str, kind: str, flags: int = 0, options: str = "") -> None:
    """mount(2). Raises OSError naming the target."""
    import ctypes

    words = [os.fsencode(word) for word in (source, target, kind)]
    if _libc().mount(*words, ctypes.c_ulong(flags), os.fsencode(options)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, "cannot mount %s: %s" % (kind, os.strerror(number)), target)


def unmount(target: str, flags: int = 0) -> None:
    """umount2(2). Raises OSError naming the target."""
    import ctypes

    if _libc().umount2(os.fsencode(target), flags) != 0:
        number = ctypes.get_errno()
        raise OSError(number, "cannot unmount: %s" % os.strerror(number), target)


__all__ = ["Storage", "answer_all", "find_controls", "hold_to", "mount", "serve", "unmount"]
