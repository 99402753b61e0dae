"""What the user has decided about new workspaces where a server was started, whatever its client says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sandlot.errors import UsageError
from sandlot.model.isolation import IsolationLevel, RuntimeChoice

__all__ = ["Creating"]

_MAKING = ("workspace_create", "workspace_run")


@dataclass(frozen=True, slots=True)
class Creating:
    """Empty, or None: not decided here."""

    environment: str = ""
    """What is inside besides the project, when a client does not say."""
    runtime: RuntimeChoice | None = None
    """What isolates them; a client has no say in it then."""
    min_isolation: IsolationLevel = IsolationLevel.NONE
    """A client, or a startup mode, can only demand more."""

    @classmethod
    def of(cls, environment: str, runtime: str | None, min_isolation: str | None) -> Creating:
        """From words. Raises UsageError."""
        try:
            choice = None if runtime is None else RuntimeChoice(runtime)
        except ValueError:
            raise UsageError(
                f"unknown runtime {runtime!r}", hint=f"choose one of: {', '.join(RuntimeChoice)}"
            ) from None
        try:
            level = IsolationLevel(min_isolation or "none")
        except ValueError:
            words = ", ".join(IsolationLevel)
            raise UsageError(f"unknown isolation level {min_isolation!r}", hint=f"choose one of: {words}") from None
        return cls(environment, choice, level)

    def decide(self, operation: str, fields: dict[str, Any]) -> None:
        """Put the decisions into the fields of an operation that makes a workspace."""
        if operation not in _MAKING:
            return
        if self.environment:
            fields["environment"] = fields.get("environment") or self.environment
        if self.runtime is not None:
            fields["runtime"] = self.runtime
        if self.min_isolation is not IsolationLevel.NONE:
            said = IsolationLevel(fields.get("min_isolation") or IsolationLevel.NONE)
            fields["min_isolation"] = self.min_isolation if self.min_isolation.satisfies(said) else said
