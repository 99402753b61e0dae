"""Two runs of the same tests, pair by pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sandlot.errors import UsageError
from sandlot.evals.statistics import mcnemar_exact
from sandlot.evals.summary import TestNumbers

__all__ = ["Comparison", "Pair", "compare"]


@dataclass(frozen=True, slots=True)
class Pair:
    """One test in both runs."""

    suite: str
    test: str
    target: str
    """``a -> b`` where the runs had different ones."""
    before: bool | None
    """Passed in most of its trials; None: nothing that counts, only errors or nothing at all."""
    after: bool | None
    rate_before: float | None
    rate_after: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """What changed from one run to another."""

    pairs: tuple[Pair, ...]
    only_before: tuple[str, ...]
    """Tests that the other run has not."""
    only_after: tuple[str, ...]

    @property
    def fixed(self) -> tuple[Pair, ...]:
        """Failed before, pass now."""
        return tuple(each for each in self.pairs if each.before is False and each.after is True)

    @property
    def regressed(self) -> tuple[Pair, ...]:
        """Passed before, do not now."""
        return tuple(each for each in self.pairs if each.before is True and each.after is False)

    @property
    def undecided(self) -> tuple[Pair, ...]:
        """Without an outcome on one side: they take no part in the test."""
        return tuple(each for each in self.pairs if each.before is None or each.after is None)

    @property
    def p_value(self) -> float:
        """Exact McNemar over the tests whose outcome differs: how likely so lopsided a change is by chance alone."""
        return mcnemar_exact(len(self.fixed), len(self.regressed))


def compare(before: Sequence[TestNumbers], after: Sequence[TestNumbers]) -> Comparison:
    """Pair the tests of two runs: by suite, test and target; by suite and test where both had one target each.

    Several trials of a test are one outcome, that of the majority, for they are not independent of each other. Raises
    UsageError when the runs have no test in common.
    """
    one_each = all(len({row.target for row in rows}) == 1 for rows in (before, after))

    def key(row: TestNumbers) -> tuple[str, ...]:
        return (row.suite, row.test) if one_each else (row.suite, row.test, row.target)

    old = {key(row): row for row in before}
    new = {key(row): row for row in after}
    common = [name for name in new if name in old]
    if not common:
        raise UsageError("the two runs have no test in common", hint="sandlot eval report RUN shows what is in each")
    return Comparison(
        pairs=tuple(_pair(old[name], new[name]) for name in common),
        only_before=tuple("/".join(name) for name in old if name not in new),
        only_after=tuple("/".join(name) for name in new if name not in old),
    )


def _pair(before: TestNumbers, after: TestNumbers) -> Pair:
    target = before.target if before.target == after.target else f"{before.target} -> {after.target}"
    return Pair(
        after.suite, after.test, target, before.verdict, after.verdict, _rate(before), _rate(after)
    )  # fmt: skip


def _rate(row: TestNumbers) -> float | None:
    return row.passed / row.counted if row.counted else None
