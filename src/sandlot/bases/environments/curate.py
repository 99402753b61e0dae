"""What every environment is made to look like before it is stored, whatever it was made from.

A runtime mounts file systems of ours onto folders of the tree, and shows the tree read-only: these folders are there
as real folders, empty, so that no symlink of an image has a say in where something is mounted.
"""

from __future__ import annotations

import re

from sandlot.bases.environments.rootfs import Node, RootTree
from sandlot.errors import ImageRefused
from sandlot.runtimes.curated import ETC_FILES

__all__ = ["curate", "variables_of"]

_EMPTY = (
    "dev",
    "mnt",
    "media",
    "proc",
    "run",
    "sys",
    "tmp",
    "workspace",
    "var/cache/apt/archives",
    "var/lib/apt/lists",
    "root/.cache",
    "root/.npm",
)
_LINKS = {b"run": b"/run", b"tmp": b"/tmp"}
_GONE = (b".dockerenv", b".containerenv", b".sandlot-python")
_OURS = ("hosts", "nsswitch.conf", "resolv.conf")
MAX_ACCOUNTS = 256 << 10
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_KEPT_OURS = frozenset({"HOME", "LOGNAME", "PWD", "SANDLOT", "SHELL", "TERM", "TMPDIR", "USER"})
MAX_VARIABLES = 256
MAX_VALUE = 32 << 10


def curate(tree: RootTree) -> None:
    """Mount points, accounts, names; every environment has them. Raises ImageRefused."""
    if not tree.root.children:
        raise ImageRefused("it has no files")
    for name in _GONE:
        tree.remove(tree.root, [], name)
    cache = tree.root
    for part in (b"var", b"cache", b"apt"):
        cache = cache.children.get(part, Node("f", 0))
    for name in (b"pkgcache.bin", b"srcpkgcache.bin"):  # apt makes them anew, and they are large
        tree.remove(cache, [b"var", b"cache", b"apt"], name)
    for top in (b"etc", b"home", b"var"):
        _real_folder(tree, tree.root, [], top)
    for path in _EMPTY:
        _emptied(tree, path.encode().split(b"/"))
    for path in ("home/agent", "etc/sandlot"):
        above, _, name = path.encode().partition(b"/")
        folder = tree.root.children[above]
        tree.remove(folder, [above], name)
        _real_folder(tree, folder, [above], name)
    var = tree.root.children[b"var"]
    for name, target in _LINKS.items():
        tree.symlink(var, [b"var"], name, target)
    etc = tree.root.children[b"etc"]
    for file in _OURS:
        tree.put(etc, [b"etc"], file.encode(), ETC_FILES[file].encode())
    for file in ("passwd", "group"):
        tree.put(etc, [b"etc"], file.encode(), _accounts(tree, file))
    tree.root.mode, tree.root.mtime_ns = 0o755, 0


def _real_folder(tree: RootTree, folder: Node, parts: list[bytes], name: bytes) -> None:
    child = folder.children.get(name)
    if child is not None and child.kind != "d":
        tree.remove(folder, parts, name)
        child = None
    if child is None:
        made, _ = tree.enter([*parts, name])
        made.mode = 0o755
    else:
        child.mode |= 0o555 if not parts else 0


def _emptied(tree: RootTree, parts: list[bytes]) -> None:
    """An empty folder at a path; where a folder on the way is missing or a symlink, nothing unless it is a top one."""
    *above, name = parts
    folder = tree.root
    for part in above:
        child = folder.children.get(part)
        if child is None or child.kind != "d":
            return
        folder = child
    if above and name not in folder.children:
        return
    tree.remove(folder, above, name)
    made, _ = tree.enter(parts)
    made.mode = 0o755


def _accounts(tree: RootTree, file: str) -> bytes:
    """The environment's own accounts with ours in front: the first line with a uid gives its name."""
    ours = ETC_FILES[file].splitlines()
    own = tree.read([b"etc", file.encode()], MAX_ACCOUNTS) or b""
    agent = next(line for line in ours if line.startswith("agent:"))
    if not tree.has("/bin/bash"):
        agent = agent.replace("/bin/bash", "/bin/sh")
    lines = [line for line in own.decode("utf-8", "replace").splitlines() if re.match(r"[a-z_][a-z0-9_.-]*:", line)]
    kept = [line for line in lines if not line.startswith("agent:")]
    known = {line.partition(":")[0] for line in kept}
    missing = [line for line in ours if line.partition(":")[0] not in known and not line.startswith("agent:")]
    return "\n".join([agent, *kept, *missing, ""]).encode()


def variables_of(entries: object) -> dict[str, str]:
    """The variables that an image's configuration asks for, without those that are ours to set. Raises ImageRefused."""
    if entries is None:
        return {}
    if not isinstance(entries, list) or len(entries) > MAX_VARIABLES:
        raise ImageRefused("its configuration has no usable list of variables")
    found = {}
    for entry in entries:
        name, equals, value = entry.partition("=") if isinstance(entry, str) else ("", "", "")
        if not equals or "\0" in value or len(value) > MAX_VALUE:
            raise ImageRefused("its configuration has a variable that is none")
        if _NAME.fullmatch(name) and name not in _KEPT_OURS:
            found[name] = value
    return found
