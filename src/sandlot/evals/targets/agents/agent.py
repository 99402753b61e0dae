"""What all CLI agents have in common: their program shown read-only, their own home, the prompt on standard input."""

from __future__ import annotations

import os
import shlex
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from sandlot.evals.cases import Placement, TargetSpec
from sandlot.evals.fields import Fields
from sandlot.evals.outcomes import TargetAnswer
from sandlot.evals.targets.common import (
    Job,
    Kind,
    Surroundings,
    fields_of,
    read_surroundings,
    run_command,
)
from sandlot.evals.targets.needs import TargetNeeds
from sandlot.evals.targets.programs import find_program, folders_of
from sandlot.evals.targets.transcript import Stream
from sandlot.model.secret import Secret

__all__ = ["Agent", "Options"]


@dataclass(frozen=True, slots=True)
class Options:
    """What a targets file says about an agent."""

    program: str
    """Absolute path on the host, and inside."""
    model: str | None
    args: tuple[str, ...]
    """More arguments, before the prompt's."""
    around: Surroundings


class Agent(Kind):
    """A CLI agent. A subclass is its command line and its stream; nothing else differs."""

    program: ClassVar[str]
    """The usual name of its program."""
    key: ClassVar[str] = ""
    """The variable that it takes its key from; bound to ``hosts`` unless the targets file says otherwise."""
    hosts: ClassVar[tuple[str, ...]] = ()
    quiet: ClassVar[Mapping[str, str]] = {}
    """Variables that keep it from looking for news, and from asking."""
    files: ClassVar[Mapping[str, str]] = {}
    """Files of its home that it needs, written unless they are there (hooks may have made better ones)."""

    @abstractmethod
    def words(self, program: str, model: str | None, args: Sequence[str]) -> list[str]:
        """Its command line without the prompt."""

    @abstractmethod
    def stream(self) -> Stream:
        """A reader of what it prints."""

    def prompt_words(self) -> str:
        """How the prompt is appended, as shell text; empty: on standard input."""
        return ""

    def check(self, spec: TargetSpec) -> TargetNeeds:
        return self._options(spec).around.needs

    def run(self, job: Job) -> TargetAnswer:
        options = self._options(job.spec)
        stream = self.stream()

        def take(name: str, line: str) -> None:
            if name == "stdout":
                stream.feed(line)
            if job.on_line is not None:
                job.on_line(name, line)

        words = self.words(options.program, options.model, options.args)
        around = replace(options.around, env={**self.quiet, **options.around.env})
        ran = run_command(
            job,
            around,
            ("/bin/sh", "-c", self._script(words, job.spec.placement)),
            job.case.prompt.encode("utf-8", "replace"),
            take,
        )
        return stream.answer(ran.duration_ms, ran.log, ran.failure, ran.timed_out)

    def _options(self, spec: TargetSpec) -> Options:
        fields = fields_of(spec)
        named = fields.text("binary", self.program)
        program = find_program(named, spec.folder)
        if program is None:
            raise fields.wrong(f"the program {named} was not found", "install it, or write binary: /path/to/it")
        model, args = fields.optional_text("model"), fields.texts("args")
        around = read_surroundings(spec, fields, self._usual(program, fields))
        fields.done()
        real = program if spec.placement is Placement.HOST else os.path.realpath(program)
        return Options(real, model, args, around)

    def _usual(self, program: str, fields: Fields) -> TargetNeeds:
        """Its key, where this machine has one and nothing else is written; its program's folders."""
        secrets = {}
        if self.key and not fields.has("secrets") and os.environ.get(self.key):
            secrets[self.key] = Secret(hosts=self.hosts, env=self.key)
        return TargetNeeds(toolchains=folders_of(program), secrets=secrets)

    def _script(self, words: Sequence[str], placement: Placement) -> str:
        """A shell program with the prompt on its standard input: it is in no argument vector that we make."""
        lines = [
            f'[ -e "$HOME"/{shlex.quote(name)} ] || {{ mkdir -p "$HOME"/{shlex.quote(os.path.dirname(name))} && '
            f'printf %s {shlex.quote(text)} >"$HOME"/{shlex.quote(name)}; }}'
            for name, text in self.files.items()
            if placement is not Placement.HOST  # that home is the operator's
        ]
        command = shlex.join(words)
        if not self.prompt_words():
            return "\n".join([*lines, f"exec {command}"])
        # As an argument of the agent's own, since it reads it nowhere else; still not one of the shell's.
        return "\n".join(
            [
                *lines, "SANDLOT_PROMPT=$(cat; printf .)", "SANDLOT_PROMPT=${SANDLOT_PROMPT%.}",
                f"exec {command} {self.prompt_words()} </dev/null",
            ]
        )  # fmt: skip
