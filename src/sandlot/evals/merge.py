"""Shards put together: one run as if a single process had made all of it."""

from __future__ import annotations

import dataclasses
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sandlot.errors import SandlotError, StateUnwritable, UsageError
from sandlot.evals.manifest import Manifest, PlannedTrial, now
from sandlot.evals.options import Shard
from sandlot.evals.run import Ending
from sandlot.evals.run_folder import RunFolder

__all__ = ["merge"]


def merge(shards: Sequence[RunFolder], root: Path, run_id: str) -> RunFolder:
    """A new run in ``root`` with the trials of all shards; what a shard has not finished, ``resume`` can there.

    Raises UsageError when they are not the shards of one run: other options, other suites, one twice, one missing.
    """
    manifests = [each.manifest for each in shards]
    _check(manifests)
    whole = _interleaved(manifests)
    first = manifests[0]
    options = dataclasses.replace(first.options, shard=None)
    suites = {str(each["name"]): each for manifest in manifests for each in manifest.suites}
    targets = {str(each["name"]): each for manifest in manifests for each in manifest.targets}
    made = RunFolder.create(
        root,
        dataclasses.replace(
            first,
            id=run_id,
            created=now(),
            options=options,
            trials=whole,
            suites=tuple(suites.values()),
            targets=tuple(targets.values()),
            plans={digest: plan for manifest in manifests for digest, plan in manifest.plans.items()},
            merged_from=tuple(manifest.id for manifest in manifests),
            workspaces=_each_once(fact for manifest in manifests for fact in manifest.workspaces),
            isolation=tuple(sorted({level for manifest in manifests for level in manifest.isolation})),
        ),
    )
    warnings = []
    for shard, manifest in zip(shards, manifests, strict=True):
        try:
            for each in manifest.trials:
                _copy(shard, made, each)
        except SandlotError:  # half of it would look like a run that was killed
            shutil.rmtree(root, ignore_errors=True)
            raise
        warnings += [text for session in shard.sessions() for text in session.warnings]
    session = made.begin({"started": now(), "merged": [str(each.root) for each in shards]})
    left = len(whole) - len(made.results([each.trial for each in whole]))
    ending = Ending.INTERRUPTED if left else Ending.COMPLETE
    reason = f"{left} trials of the shards have no result" if left else ""
    session.finish({"ended": now(), "ending": ending.value, "reason": reason, "warnings": warnings})
    return made


def _check(manifests: Sequence[Manifest]) -> None:
    if not manifests:
        raise UsageError("there is nothing to merge", hint="sandlot eval merge RUN RUN...")
    numbers: list[Shard] = []
    for manifest in manifests:
        if manifest.options.shard is None:
            raise UsageError(f"run {manifest.id} is no shard", hint="shards are made by eval run --shard 1/3")
        numbers.append(manifest.options.shard)
        if _asked(manifest) != _asked(manifests[0]):
            hint = "shards differ in nothing but --shard, --workers and where they are"
            raise UsageError(f"runs {manifests[0].id} and {manifest.id} are shards of different runs", hint=hint)
    count = numbers[0].count
    twice = [str(each) for each in numbers if numbers.count(each) > 1]
    if twice:
        raise UsageError(f"shard {twice[0]} is there twice", hint="name each shard once")
    _check_work(manifests)
    missing = [f"{number}/{count}" for number in range(1, count + 1) if Shard(number, count) not in numbers]
    if missing:
        raise UsageError(f"shard {', '.join(missing)} is missing", hint="run it with --shard, or resume it")


def _check_work(manifests: Sequence[Manifest]) -> None:
    """Shards of before and after an edit are no run, nor are those of two commits."""
    hint = "run the shards of one commit anew"
    for kind in ("suites", "targets"):
        digests: dict[str, tuple[str, str]] = {}
        for manifest in manifests:
            for each in getattr(manifest, kind):
                name, digest = str(each.get("name")), str(each.get("digest"))
                first, known = digests.setdefault(name, (manifest.id, digest))
                if known != digest:
                    what = f"the {kind[:-1]} {name!r}"
                    raise UsageError(f"{what} is not the same in runs {first} and {manifest.id}", hint=hint)
    keys = Counter(each.trial.key for manifest in manifests for each in manifest.trials)
    if twice := [key for key, count in keys.items() if count > 1]:
        raise UsageError(f"{twice[0]} is in two shards", hint=hint)


def _each_once(facts: Iterable[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    found: list[Mapping[str, Any]] = []
    for each in facts:
        if each not in found:
            found.append(each)
    return tuple(found)


def _asked(manifest: Manifest) -> tuple[object, ...]:
    """What shards of one run have in common. Their suites' paths may differ: every machine has its own checkout."""
    options = manifest.options
    shard = options.shard
    return (
        None if shard is None else shard.count,
        options.filters,
        options.tags,
        options.targets,
        options.trials,
        options.timeout_s,
        options.workspace_mode,
    )


def _interleaved(manifests: Sequence[Manifest]) -> tuple[PlannedTrial, ...]:
    """The order of the whole plan: shard i has every trial whose place leaves i - 1 modulo their count."""
    ordered = sorted(manifests, key=lambda each: each.options.shard.number if each.options.shard else 0)
    longest = max(len(each.trials) for each in ordered)
    return tuple(each.trials[row] for row in range(longest) for each in ordered if row < len(each.trials))


def _copy(source: RunFolder, target: RunFolder, planned: PlannedTrial) -> None:
    """A trial's last attempt and all beside it. A shard's folder is a copy that anybody may have made: regular files
    with the names that we give, nothing else."""
    result = source.result(planned.trial)
    if result is None:
        return
    place, goal = source.place_of(planned.trial), target.place_of(planned.trial)
    try:
        goal.mkdir()
        names = sorted(entry for entry in place.iterdir() if entry.is_file() and not entry.is_symlink())
        results = [entry for entry in names if entry.name.endswith(".json") and entry.stem.isdecimal()]
        for entry in [entry for entry in names if entry not in results and not entry.name.startswith(".")] + results:
            shutil.copyfile(entry, goal / entry.name)
    except OSError as error:
        raise StateUnwritable(f"cannot copy {place}: {error.strerror or error}") from error
