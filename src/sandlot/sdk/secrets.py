"""The secrets of a workspace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sandlot.operations.operation import Caller

if TYPE_CHECKING:
    from sandlot.operations import secret_set
    from sandlot.operations.secreted import SecretInfo
    from sandlot.sdk.workspace import Workspace

__all__ = ["Secrets"]


@dataclass(frozen=True, slots=True)
class Secrets:
    """What one workspace can use but not read."""

    _workspace: Workspace

    def set(
        self,
        name: str,
        *,
        hosts: Sequence[str] = (),
        value: str | None = None,
        source: str | None = None,
        reveal_only: bool = False,
    ) -> secret_set.Result:
        """Give it a secret, or change its value or its hosts.

        ``value`` is the value itself; ``source`` says where it is: ``env:VAR`` or ``file:PATH``. ``hosts``:
        ``HOST[:PORT]`` over https, or ``http://HOST[:PORT]``; without any, a secret that exists keeps its own. Raises
        UsageError, PathNotFound.
        """
        caller = None if value is None else Caller(content=value.encode("utf-8", "surrogatepass"))
        result: secret_set.Result = self._workspace.call(
            "secret_set", caller=caller, name=name, hosts=tuple(hosts), source=source, reveal_only=reveal_only
        )
        return result

    def list(self) -> list[SecretInfo]:
        """Names and hosts, by name; never values."""
        return list(self._workspace.call("secret_list").secrets)

    def delete(self, name: str) -> None:
        """Forget one. Raises SecretNotFound."""
        self._workspace.call("secret_delete", name=name)
