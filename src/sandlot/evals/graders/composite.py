"""``composite``: graders whose findings become one score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sandlot.evals.cases import GraderSpec
from sandlot.evals.fields import Fields
from sandlot.evals.graders.subject import Finding, Grader, GraderFailed, NothingToJudge, Subject
from sandlot.evals.outcomes import Verdict

__all__ = ["Composite", "member_specs"]


_COMMON = ("type", "name", "weight", "required", "negate")


@dataclass(frozen=True, slots=True)
class Composite(Grader):
    """``aggregator``: ``weighted_average``, ``threshold`` (the share of passed members), ``all``, ``any``, ``min``."""

    members: tuple[tuple[GraderSpec, Grader], ...]
    aggregator: str
    threshold: float

    @classmethod
    def read(cls, spec: GraderSpec, fields: Fields) -> Composite:
        from sandlot.evals.graders import read_grader

        members = [(each, read_grader(each)) for each in member_specs(spec, fields)]
        written = fields.any("aggregator", "weighted_average")
        inner = fields.inner("aggregator") if isinstance(written, Mapping) else fields
        name = "aggregator" if inner is fields else "type"
        how = inner.choice(name, ("weighted_average", "threshold", "all", "any", "min"), "weighted_average")
        threshold = inner.number("threshold", least=0, most=1)
        weights = Fields(inner.mapping("weights"), "the aggregator's weights", spec.place)
        for at, (member, grader) in enumerate(members):
            weight = weights.number(member.name, least=0)
            members[at] = (member if weight is None else replace(member, weight=weight), grader)
        weights.done()
        if inner is not fields:
            inner.done()
        return cls(tuple(members), how, 0.8 if threshold is None else threshold)

    @property
    def asks_a_model(self) -> bool:
        return any(grader.asks_a_model for _, grader in self.members)

    def hidden_from_targets(self, *, static: bool) -> tuple[str, ...]:
        return tuple(path for _, grader in self.members for path in grader.hidden_from_targets(static=static))

    def find(self, subject: Subject) -> Finding:
        from sandlot.evals.graders import grade_all
        from sandlot.evals.scoring import first_missed

        made = {id(spec): grader for spec, grader in self.members}
        verdicts = grade_all([spec for spec, _ in self.members], subject, lambda spec: made[id(spec)])
        low = first_missed(verdicts)
        for each in verdicts:
            if each.error and low is None:
                raise GraderFailed(f"{each.name}: {each.error}")
            if each.skipped and each.required is not None and low is None:
                raise GraderFailed(f"{each.name} is required: {each.reasoning}")
        counted = [each for each in verdicts if not each.skipped and not each.error]
        if not counted:
            raise NothingToJudge("none of its members had anything to judge")
        score = 0.0 if low else self._score(counted)
        return Finding(
            score,
            tuple(f"{each.name}: {hit}" for each in counted for hit in each.hits),
            tuple(f"{each.name}: {miss}" for each in counted for miss in each.misses),
            f"{low.name} is required" if low else "",
            {"members": [{"name": each.name, "score": each.score, "passed": each.passed} for each in verdicts]},
        )

    def _score(self, verdicts: list[Verdict]) -> float:
        passed = sum(each.passed for each in verdicts)
        if self.aggregator == "threshold":
            return float(passed / len(verdicts) >= self.threshold)
        if self.aggregator == "all":
            return float(passed == len(verdicts))
        if self.aggregator == "any":
            return float(passed > 0)
        if self.aggregator == "min":
            return min(each.score for each in verdicts)
        total = sum(each.weight for each in verdicts)
        if not total:
            return sum(each.score for each in verdicts) / len(verdicts)
        return sum(each.score * each.weight for each in verdicts) / total


def member_specs(spec: GraderSpec, fields: Fields) -> tuple[GraderSpec, ...]:
    """Its members, as specs of their own. Raises UsageError."""
    found = fields.any("graders", ())
    if not isinstance(found, list | tuple) or not found:
        raise fields.wrong("'graders' is missing")
    members = []
    for at, each in enumerate(found):
        members.append(each if isinstance(each, GraderSpec) else _member(spec, fields.items("graders")[at], each))
    return tuple(members)


def _member(spec: GraderSpec, fields: Fields, written: Mapping[str, Any]) -> GraderSpec:
    kind = fields.text("type")
    required = written.get("required")
    least = 0.8 if required is True else None if required is False else fields.number("required", least=0, most=1)
    weight = fields.number("weight", least=0)
    config = {key: value for key, value in written.items() if key not in _COMMON}
    return GraderSpec(
        kind, fields.text("name", kind), spec.place, config, 1.0 if weight is None else weight, least,
        fields.flag("negate"), spec.folder,
    )  # fmt: skip
