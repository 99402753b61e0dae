"""The files of a workspace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from sandlot.operations.operation import Caller

if TYPE_CHECKING:
    from sandlot.operations import file_delete, file_list, file_read, file_search, file_write
    from sandlot.sdk.workspace import Workspace

__all__ = ["Files"]


@dataclass(frozen=True, slots=True)
class Files:
    """The files of one workspace; paths are below /workspace or absolute inside."""

    _workspace: Workspace

    def list(
        self, path: str = ".", *, recursive: bool = False, glob: str = "", hidden: bool = True, limit: int = 1000,
        cursor: str = "",
    ) -> file_list.Result:  # fmt: skip
        """A page of entries below a folder. Raises PathNotFound."""
        result: file_list.Result = self._workspace.call(
            "file_list", path=path, recursive=recursive, glob=glob, hidden=hidden, limit=limit, cursor=cursor
        )
        return result

    def read(
        self,
        path: str,
        *,
        first_line: int | None = None,
        lines: int | None = None,
        offset: int | None = None,
        max_bytes: int | None = None,
    ) -> file_read.Result:
        """A file, or some of its lines or bytes (64 KiB unless told otherwise). Raises PathNotFound, FileRefused."""
        result: file_read.Result = self._workspace.call(
            "file_read", path=path, first_line=first_line, lines=lines, offset=offset, max_bytes=max_bytes
        )
        return result

    def write(
        self, path: str, content: str | bytes | BinaryIO, *, mode: str = "", create_only: bool = False
    ) -> file_write.Result:
        """Make or replace a file, atomically; missing folders are made. Raises FileRefused."""
        text = content if isinstance(content, str) else None
        caller = None if isinstance(content, str) else Caller(content=content)
        result: file_write.Result = self._workspace.call(
            "file_write", caller=caller, path=path, content=text, mode=mode, create_only=create_only
        )
        return result

    def search(
        self, pattern: str, path: str = ".", *, literal: bool = False, ignore_case: bool = False, glob: str = "",
        include_ignored: bool = False, context: int = 0, limit: int = 200,
    ) -> file_search.Result:  # fmt: skip
        """Lines that match a regular expression, or plain text with ``literal``. Raises UsageError, PathNotFound."""
        result: file_search.Result = self._workspace.call(
            "file_search", pattern=pattern, path=path, literal=literal, ignore_case=ignore_case, glob=glob,
            include_ignored=include_ignored, context=context, limit=limit,
        )  # fmt: skip
        return result

    def move(self, source: str, destination: str, *, overwrite: bool = False) -> None:
        """Move or rename. Raises PathNotFound, FileRefused."""
        self._workspace.call("file_move", source=source, destination=destination, overwrite=overwrite)

    def delete(self, path: str, *, recursive: bool = False) -> file_delete.Result:
        """Delete a file, or a folder with ``recursive``. Raises PathNotFound, FileRefused."""
        result: file_delete.Result = self._workspace.call("file_delete", path=path, recursive=recursive)
        return result
