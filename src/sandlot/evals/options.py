"""What somebody asked a run to be: the options of ``eval run``, kept in the manifest, so that resuming needs none."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sandlot.errors import StateCorrupt, UsageError

__all__ = ["Budgets", "RunOptions", "Shard"]

MOST_SHARDS = 10_000


@dataclass(frozen=True, slots=True)
class Shard:
    """One of ``count`` equal parts of a run: every trial whose place in the plan leaves ``number - 1`` modulo it."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """``2/3``. Raises UsageError."""
        number, slash, count = text.partition("/")
        written = slash and all(each.isascii() and each.isdecimal() for each in (number, count))
        if written and 1 <= int(number) <= int(count) <= MOST_SHARDS:
            return cls(int(number), int(count))
        raise UsageError(f"{text!r} is not a shard", hint="write 1/3, 2/3 or 3/3: this part, of so many")

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def has(self, index: int) -> bool:
        """Whether the trial at that place of the plan is in it."""
        return index % self.count == self.number - 1


@dataclass(frozen=True, slots=True)
class Budgets:
    """What a run, or the trials of one suite, may use; None: no limit."""

    usd: float | None = None
    tokens: int | None = None
    minutes: float | None = None


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Everything that decides what a run does."""

    paths: tuple[str, ...] = ()
    """Absolute."""
    targets: tuple[str, ...] = ()
    filters: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    trials: int | None = None
    workers: int | None = None
    timeout_s: float | None = None
    fail_fast: bool = False
    retry_errors: bool = False
    budgets: Budgets = Budgets()
    workspace_mode: str | None = None
    workspace_path: str | None = None
    shard: Shard | None = None
    min_pass_rate: float | None = None
    baseline: str | None = None
    """Absolute path of a run's folder."""
    max_regressions: int | None = None

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> RunOptions:
        """As a manifest holds them. Raises StateCorrupt."""
        try:
            values = {field.name: record[field.name] for field in dataclasses.fields(cls)}
            for name in ("paths", "targets", "filters", "tags"):
                values[name] = tuple(_typed(each, str) for each in _typed(values[name], list))
            for kind, names in _OPTIONAL.items():
                for name in names:
                    values[name] = None if values[name] is None else _typed(values[name], *kind)
            budgets = {
                name: None if each is None else _typed(each, int, float)
                for name, each in _typed(values["budgets"], dict).items()
            }
            values["budgets"] = Budgets(**budgets)
            values["shard"] = (
                None if values["shard"] is None else Shard.parse("{number}/{count}".format(**values["shard"]))
            )
            return cls(**values)
        except (KeyError, TypeError, UsageError) as error:
            raise StateCorrupt(f"the options in run.json cannot be read: {error}", hint="start a new run") from error


_OPTIONAL: Mapping[tuple[type, ...], tuple[str, ...]] = {
    (int,): ("trials", "workers", "max_regressions"),
    (int, float): ("timeout_s", "min_pass_rate"),
    (str,): ("workspace_mode", "workspace_path", "baseline"),
}


def _typed(value: Any, *kinds: type) -> Any:
    """The value. Raises TypeError: somebody has written in the file by hand."""
    if not isinstance(value, kinds):
        raise TypeError(f"{value!r} is no {kinds[0].__name__}")
    return value
