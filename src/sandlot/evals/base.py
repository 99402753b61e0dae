"""Making what trials are forked from: one stopped workspace with template, repos and the state after ``before_all``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import Any

from sandlot.errors import Conflict
from sandlot.evals import pool, staging, template, verify
from sandlot.evals.cases import HookName, Repo, WorkspacePlan
from sandlot.evals.hook_files import digest_of
from sandlot.evals.isolation import isolation_of, isolation_words
from sandlot.evals.plan_hooks import PlanHooks
from sandlot.evals.repos import Resolved, contained, resolve
from sandlot.evals.scratch import staged
from sandlot.sdk import Sandlot, Workspace

__all__ = ["BaseMaker", "Surroundings"]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a workspace has that is no part of its tree; the same for all trials of a preparation."""

    toolchains: tuple[str, ...] = ()
    """Folders of the host shown read-only inside: the agent's program."""
    network: str | None = None
    allow: tuple[str, ...] = ()
    allow_preset: tuple[str, ...] = ()
    allow_private: tuple[str, ...] = ()
    limits: Mapping[str, Any] = field(default_factory=dict)
    """As ``Sandlot.create`` takes them."""

    @property
    def reaches_out(self) -> bool:
        """Whether there is a network at all."""
        return self.network not in (None, "off") or bool(self.allow or self.allow_preset or self.allow_private)

    def words(self) -> dict[str, Any]:
        """For ``Sandlot.create``."""
        return {
            "toolchains": self.toolchains, "network": self.network, "allow": self.allow,
            "allow_preset": self.allow_preset, "allow_private": self.allow_private, **self.limits,
        }  # fmt: skip


def environment_of(sandlot: Sandlot, plan: WorkspacePlan) -> str:
    """Name and digest of what trials have inside: a name may mean something else tomorrow. "": the user's setting.

    Raises EnvironmentNotFound.
    """
    if plan.environment in (None, "host"):
        return plan.environment or ""
    found = sandlot.environments.inspect(plan.environment)
    return f"{found.name}@{found.environment.digest}"


class BaseMaker:
    """Knows what shapes the tree of a plan now, and makes it."""

    def __init__(
        self, sandlot: Sandlot, plan: WorkspacePlan, hooks: PlanHooks, surroundings: Surroundings,
        progress: Callable[[str], None],
    ) -> None:  # fmt: skip
        """Every ref becomes a commit here. Raises PathNotFound, UsageError, UnsafePath, GitFailed."""
        self._sandlot, self._plan, self._hooks = sandlot, plan, hooks
        self._surroundings, self._progress = surroundings, progress
        staging.check_template(plan)
        for each in plan.repos:
            contained(each)
        self._template = template.look(plan.template, sandlot.paths.evals) if plan.template else None
        self._environment = environment_of(sandlot, plan)
        self.repos = tuple(self._resolved(each) for each in plan.repos)

    def fingerprint(self) -> str:
        """Of everything that shapes what a trial starts from."""
        before = self._hooks.get(HookName.BEFORE_ALL)
        facts = {
            "template": self._template.content if self._template else "",
            "environment": self._environment,
            "isolation": isolation_of(self._plan),
            "repos": [each.facts() for each in self.repos],
            "surroundings": asdict(self._surroundings),
            "before_all": before and {
                "command": before.command, "cwd": before.cwd, "folder": before.folder,
                "placement": before.placement.value, "files": digest_of(before, self._hooks.without),
            },
        }  # fmt: skip
        return pool.fingerprint(facts)

    @property
    def _stages(self) -> bool:
        """Whether the tree is put together in a folder of ours, and not copied from the template as it stands."""
        return bool(self.repos) or staging.is_partial(self._plan.template)

    def make(self, labels: Mapping[str, str], making: Mapping[str, str], output: dict[str, str]) -> Workspace:
        """The workspace, stopped and complete; it gets ``labels`` by the last step, and has ``making`` until then.

        Raises HookFailed, GitFailed, Conflict and their like.
        """
        self._progress("preparing the workspace")
        with ExitStack() as undo:
            made = undo.enter_context(self._seed(making))
            labels = {**labels, pool.BASE: made.base or "" if self._stages else ""}
            if self._hooks.get(HookName.BEFORE_ALL) is None and not self.repos:
                undo.pop_all()
                made.stop()
                made.update(labels={**labels, pool.BYTES: str(made.info.origin.bytes)})
                return made
            self._before_all(made, output)
            # Forked from a stopped workspace with nothing of its own on top, a trial copies nothing.
            (sealed,) = made.fork(labels={**labels, pool.BYTES: str(verify.size_of(made))})
        sealed.stop()
        return sealed

    def _before_all(self, workspace: Workspace, output: dict[str, str]) -> None:
        self._progress("running before_all")
        try:
            self._hooks.before(HookName.BEFORE_ALL, self._hooks.of_suite(HookName.BEFORE_ALL), workspace, output)
        except BaseException:  # after hooks always run; here, since no trial will be
            after = HookName.AFTER_ALL
            self._hooks.after(after, self._hooks.of_suite(after), workspace, output, [])
            raise

    def _seed(self, labels: Mapping[str, str]) -> Workspace:
        inside = {"environment": self._environment or None, **isolation_words(self._plan)}
        words = {**self._surroundings.words(), **inside}
        if not self._stages:
            made = self._sandlot.create(self._plan.template, labels=labels, **words)
        else:
            with staged() as folder:
                staging.assemble(self._plan, self.repos, folder, self._progress)
                made = self._sandlot.create(folder, labels=labels, **words)
        if self._plan.template and self._template and self._template.stamps != template.stamps(self._plan.template):
            made.delete()
            raise Conflict(f"the template {self._plan.template} changed while it was copied", hint="run it again")
        return made

    def _resolved(self, repo: Repo) -> Resolved:
        self._progress(f"resolving {repo.path}")
        return resolve(repo)
