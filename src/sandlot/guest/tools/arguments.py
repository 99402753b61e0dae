"""Reading a tool's arguments, and saying what went wrong with a path."""

from __future__ import annotations

import errno

from sandlot.guest.tools import ToolError
from sandlot.wire.messages import integer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

DISPLAY_LIMIT = 300

_REASONS = {
    errno.EACCES: "permission denied",
    errno.EPERM: "not permitted",
    errno.EROFS: "it is read-only here",
    errno.ENOSPC: "no space left in the workspace",
    errno.EDQUOT: "no space left in the workspace",
    errno.EISDIR: "is a folder",
    errno.ELOOP: "too many symlinks",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ENOTEMPTY: "the folder is not empty",
    errno.EEXIST: "already exists",
    errno.EBUSY: "is in use as a mount point",
    errno.EFBIG: "the file is too large",
    errno.ETXTBSY: "is a program that is running",
    errno.ENXIO: "is not a regular file",
    errno.EMFILE: "too many open files",
}


def display(path: bytes) -> str:
    """A path for a message: no control characters, undecodable bytes escaped, shortened in the middle."""
    text = path.decode("utf-8", "backslashreplace")
    if len(text) > DISPLAY_LIMIT:
        text = text[: DISPLAY_LIMIT // 2] + "..." + text[-DISPLAY_LIMIT // 2 :]
    if text.isprintable():
        return text or "."
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def failure(path: bytes, error: OSError) -> ToolError:
    """The tool's error for an operating system's refusal."""
    if error.errno == errno.ENOENT:
        return ToolError("path_not_found", f"{display(path)} does not exist")
    if error.errno == errno.ENOTDIR:
        return ToolError("path_not_found", f"{display(path)} does not exist: a parent is not a folder")
    reason = _REASONS.get(error.errno or 0) or (error.strerror or str(error)).lower()
    return ToolError("file_refused", f"{display(path)}: {reason}")


class Naming:
    """A block in which every OSError becomes a ToolError that names ``path``."""

    def __init__(self, path: bytes) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if isinstance(error, OSError):
            raise failure(self._path, error) from error


class Arguments:
    """A tool's fields, taken one after the other. What is missing or malformed raises invalid_argument.

    Fields after the last one taken are left alone, so a newer host can talk to an older agent.
    """

    def __init__(self, fields: list[bytes]) -> None:
        self._fields = iter(fields)

    def raw(self, what: str) -> bytes:
        field = next(self._fields, None)
        if field is None:
            raise ToolError("invalid_argument", f"the argument {what} is missing")
        return field

    def path(self, what: str, empty: bool = False) -> bytes:
        """A path; without ``empty`` it must have at least one character."""
        path = self.raw(what)
        if b"\0" in path:
            raise ToolError("invalid_argument", f"{what} contains a NUL byte")
        if not path and not empty:
            raise ToolError("invalid_argument", f"{what} is empty")
        return path

    def flag(self, what: str) -> bool:
        field = self.raw(what)
        if field not in (b"0", b"1"):
            raise ToolError("invalid_argument", f"{what} must be 0 or 1")
        return field == b"1"

    def number(self, what: str, low: int, high: int) -> int:
        try:
            return integer(self.raw(what), low, high)
        except ValueError:
            raise ToolError("invalid_argument", f"{what} must be a whole number from {low} to {high}") from None

    def choice(self, what: str, choices: tuple[bytes, ...]) -> bytes:
        field = self.raw(what)
        if field not in choices:
            raise ToolError("invalid_argument", f"{what} must be one of {', '.join(c.decode() for c in choices)}")
        return field

    def mode(self, what: str) -> int | None:
        """Permission bits in octal, or None for an empty field."""
        field = self.raw(what)
        if not field:
            return None
        if len(field) > 5 or field.strip(b"01234567"):
            raise ToolError("invalid_argument", f"{what} must be an octal mode such as 0644")
        mode = int(field, 8)
        if mode > 0o7777:
            raise ToolError("invalid_argument", f"{what} must be an octal mode such as 0644")
        return mode
