"""From the names in a patch to paths in the tree."""

from __future__ import annotations

from sandlot.guest.tools import ToolError
from sandlot.guest.tools.arguments import display
from sandlot.guest.tools.patch_text import Section, unquote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

DEEPEST_STRIP = 5

PREFIXES = (b"a", b"b", b"c", b"i", b"o", b"w", b"1", b"2", b".")
"""What git puts before names (git-diff(1), diff.mnemonicPrefix), and ``.``."""


class Target:
    """What a section does: ``old`` is the path it starts from (None: a new file), ``new`` the one it results in."""

    __slots__ = ("keeps_old", "new", "old", "section")

    def __init__(self, section: Section, old: bytes | None, new: bytes | None, keeps_old: bool) -> None:
        self.section = section
        self.old = old
        self.new = new
        self.keeps_old = keeps_old
        """It is a copy."""

    @property
    def path(self) -> bytes:
        """The path to speak of."""
        return self.new or self.old or b""

    @property
    def paths(self) -> list[bytes]:
        return [path for path in dict.fromkeys((self.old, self.new)) if path is not None]


def targets(mail: list[Section], strip: int, exists: Callable[[bytes], bool]) -> list[Target]:
    """The targets of a mail's sections.

    ``strip`` is how many leading components of a name are not part of the path, -1 to find out: then the number is
    taken under which most of the files are there, and by the names' looks when that does not decide. Raises ToolError
    (unsafe_path, patch_rejected).
    """
    found: list[Target | None] = [None] * len(mail)
    for git in (True, False):
        group = [i for i, section in enumerate(mail) if section.git is git]
        if not group:
            continue
        for i in group:
            _refuse_special(mail[i])
        chosen = strip if strip >= 0 else _choose([mail[i] for i in group], exists)
        for i in group:
            found[i] = _resolve(mail[i], chosen, exists)
    return [target for target in found if target is not None]


def _refuse_special(section: Section) -> None:
    for mode in (section.old_mode, section.new_mode, section.new_file_mode, section.deleted_mode, section.index[-6:]):
        if mode == b"160000":
            raise _rejected(section, "is a submodule, which a patch cannot change")
    for mode in (section.new_mode, section.new_file_mode):
        if mode and mode[:3] not in (b"100", b"120"):
            raise _rejected(section, f"has the mode {display(mode)}, which is neither a file's nor a symlink's")
    if section.no_content:
        raise _rejected(section, "is binary, and the patch does not hold its content (git diff --binary does)")


def _rejected(section: Section, reason: str) -> ToolError:
    name = section.new_name or section.old_name or section.header
    return ToolError("patch_rejected", "the patch cannot be applied", [f"{display(name)}: {reason}"])


def _choose(sections: list[Section], exists: Callable[[bytes], bool]) -> int:
    order = _order(sections)
    best, best_score = order[0], (-1, -1)
    for strip in order:
        there = same = 0
        for section in sections:
            old, new, is_new = _names(section, strip)
            usable = [name for name in (old, new) if name and _flaw(name) == ""]
            there += not is_new and any(exists(name) for name in usable[: 1 if section.git else 2])
            same += old == new or old is None or new is None or not section.git or bool(section.rename_from)
        if (there, same) > best_score:
            best, best_score = strip, (there, same)
    return best


def _order(sections: list[Section]) -> list[int]:
    """The numbers to try, the likeliest first, by the looks of the names."""
    rest = list(range(2, DEEPEST_STRIP + 1))
    return [1, 0, *rest] if all(_prefixed(section) for section in sections) else [0, 1, *rest]


def _prefixed(section: Section) -> bool:
    """Whether the names seem to have a prefix such as a/ and b/, or there is no telling."""
    if section.git:
        # git never uses one prefix for both sides
        old, new = _header_names(section.header)
        return bool(section.rename_from or section.copy_from) or old is None or old != new
    first = [name.partition(b"/")[0] for name in (section.old_name, section.new_name) if name and b"/" in name]
    if len(first) < (section.old_name is not None) + (section.new_name is not None):
        return False
    return all(part in PREFIXES for part in first) or (len(set(first)) == 2 and b".." not in first)


def _header_names(header: bytes) -> tuple[bytes | None, bytes | None]:
    """The two names of a ``diff --git`` line; unquoted ones are told apart by being the same after their prefix."""
    if header.startswith(b'"'):
        old, rest = unquote(header)
        rest = rest[1:]
        return old, unquote(rest)[0] if rest.startswith(b'"') else rest
    if header.endswith(b'"') and b' "' in header:
        old, _, rest = header.partition(b' "')
        return old, unquote(b'"' + rest)[0]
    at = header.find(b" ")
    candidates: list[tuple[bytes, bytes]] = []
    while at >= 0:
        old, new = header[:at], header[at + 1 :]
        if old == new or (b"/" in old and old.partition(b"/")[2] == new.partition(b"/")[2]):
            return old, new
        candidates.append((old, new))
        at = header.find(b" ", at + 1)
    return candidates[0] if len(candidates) == 1 else (None, None)


def _strip(name: bytes | None, count: int) -> bytes | None:
    """A name without its first ``count`` components; empty when it has no more than those, or they climb."""
    if name is None or name.startswith(b"/"):
        return name
    for _ in range(count):
        first, slash, name = name.partition(b"/")
        if not slash or first == b"..":
            return b""
    while name.startswith(b"./"):
        name = name[2:].lstrip(b"/")
    return name


def _names(section: Section, strip: int) -> tuple[bytes | None, bytes | None, bool]:
    """(old, new, whether the section makes a new file) after stripping; None is /dev/null."""
    if section.rename_from or section.copy_from:
        less = max(strip - 1, 0)
        old = _strip(section.rename_from or section.copy_from, less)
        return old, _strip(section.rename_to or section.copy_to, less), False
    if not section.git:
        first = section.hunks[0] if section.hunks else None
        makes = section.old_name is None or (section.epoch_old and first is not None and first.old_start == 0)
        ends = section.new_name is None or (section.epoch_new and first is not None and first.new_start == 0)
        return (
            None if makes else _strip(section.old_name, strip),
            None if ends and not makes else _strip(section.new_name, strip),
            makes,
        )
    old, new = section.old_name, section.new_name
    if old is None and new is None:
        old, new = _header_names(section.header)
    makes = bool(section.new_file_mode) or old is None
    ends = bool(section.deleted_mode) or new is None
    return (None if makes else _strip(old, strip), None if ends else _strip(new, strip), makes)


def _resolve(section: Section, strip: int, exists: Callable[[bytes], bool]) -> Target:
    _refuse_climbing(section)
    old, new, _ = _names(section, strip)
    keeps_old = bool(section.copy_from)
    if section.rename_from or section.copy_from or old is None or new is None:
        if old is None and new is None:
            raise _rejected(section, "the patch does not say which file it is for")
        for name in (old, new):
            if name is not None:
                _check(name)
        return Target(section, old, new, keeps_old)
    usable = [name for name in dict.fromkeys((new, old)) if _flaw(name) == ""]
    if section.git and len(usable) > 1:
        usable.sort(key=lambda name: not exists(name))
    there = [name for name in usable if exists(name)]
    if not usable:
        _check(new)
    path = (there or usable)[0]
    _check(path)
    first = section.hunks[0] if section.hunks else None
    if not section.git and not there and first is not None and first.old_start == 0 and not first.removed:
        return Target(section, None, path, keeps_old)  # "@@ -0,0" of a file that is not there makes it
    return Target(section, path, path, keeps_old)


def _refuse_climbing(section: Section) -> None:
    """Refuse ``..`` in git's names, and elsewhere behind another component, however much is stripped."""
    names = [section.old_name, section.new_name, section.rename_from, section.rename_to, section.copy_from]
    if section.git:
        names += [*_header_names(section.header), section.copy_to]
    for name in names:
        if not name:
            continue
        parts = name.split(b"/")
        while not section.git and parts[:1] in ([b".."], [b"."]):
            del parts[0]  # diff -u ../old/file file
        if b".." in parts:
            raise ToolError("unsafe_path", f"the patch names {display(name)}, which climbs out of the tree")


def _flaw(name: bytes) -> str:
    """Why a name cannot be a path in the tree, or nothing."""
    if not name:
        return "is no path"
    if name.startswith(b"/"):
        return "is an absolute path"
    parts = name.split(b"/")
    if b".." in parts:
        return "climbs out of the tree"
    if any(part.lower() == b".git" for part in parts):
        return "belongs to git itself"
    if b"" in parts or b"." in parts or b"\0" in name:
        return "is no plain path"
    return ""


def _check(name: bytes) -> None:
    flaw = _flaw(name)
    if flaw:
        raise ToolError("unsafe_path", f"the patch names {display(name)}, which {flaw}")
