"""Any command line: ``command: my-agent --task {PROMPT_FILE} --out {OUTPUT_FILE}``."""

from __future__ import annotations

import os
import re
import shlex
import stat
import tempfile
from collections.abc import Callable
from dataclasses import replace

from sandlot.errors import SandlotError
from sandlot.evals.cases import Placement, TargetSpec
from sandlot.evals.outcomes import TargetAnswer
from sandlot.evals.targets.answers import answer_from
from sandlot.evals.targets.commandline import Ran
from sandlot.evals.targets.common import (
    SCRATCH,
    Job,
    Kind,
    Surroundings,
    fields_of,
    read_surroundings,
    run_command,
)
from sandlot.evals.targets.needs import TargetNeeds

__all__ = ["CliTarget", "fill", "script"]

PLACEHOLDERS = ("PROMPT", "PROMPT_FILE", "OUTPUT_FILE", "WORKSPACE", "EVAL_ID", "ATTEMPT", "FILES", "GUIDELINES")
_WORD = re.compile(r"(?<!\$)\{([A-Z][A-Z_]*)\}")  # not ${HOME}: that is the shell's
ANSWER_BYTES = 4 << 20
"""Most of an output file that is read."""


class CliTarget(Kind):
    """Runs a command; its answer is its output file when it names one, else what it prints."""

    name = "cli"

    def check(self, spec: TargetSpec) -> TargetNeeds:
        return _read(spec)[1].needs

    def run(self, job: Job) -> TargetAnswer:
        command, around, files_format = _read(job.spec)
        if job.spec.placement is Placement.HOST:
            with tempfile.TemporaryDirectory(prefix="sandlot-eval-") as folder:
                return _run(job, command, around, files_format, folder)
        return _run(job, command, around, files_format, SCRATCH)


def _read(spec: TargetSpec) -> tuple[str, Surroundings, str]:
    fields = fields_of(spec)
    found = fields.any("command")
    command = shlex.join(fields.texts("command", None)) if isinstance(found, list | tuple) else fields.text("command")
    if isinstance(found, list | tuple):
        command = _unquoted(command)
    for word in _WORD.findall(command):
        if word not in PLACEHOLDERS:
            raise fields.wrong(f"unknown placeholder {{{word}}}", f"known: {', '.join(PLACEHOLDERS)}")
    if spec.placement is Placement.HOST and "{WORKSPACE}" in command:
        raise fields.wrong("{WORKSPACE} does not exist on the host", "leave out placement: host")
    files_format = fields.text("files_format", "{path}")
    around = read_surroundings(spec, fields)
    fields.done()
    return command, around, files_format


def _unquoted(command: str) -> str:
    """In a list every word was quoted as a whole; a placeholder that is a word of its own brings its own quotes."""
    return _WORD.sub(lambda found: found[0], re.sub(r"'(\{[A-Z_]+\})'", r"\1", command))


def fill(command: str, values: dict[str, str]) -> str:
    """Each placeholder by its value, which is quoted for the shell already."""
    return _WORD.sub(lambda found: values.get(found[1], found[0]), command)


def script(command: str, folder: str) -> str:
    """A shell program that reads the prompt from its standard input, and runs the command with none.

    The prompt is in no argument vector and no environment, so it may be of any size, and hold anything: the shell
    takes it from a file into a variable that it does not export.
    """
    place = shlex.quote(folder)
    return (
        f"umask 077; mkdir -p {place} && cat >{place}/prompt.txt || exit 125\n"
        f"SANDLOT_PROMPT=$(cat {place}/prompt.txt; printf .); SANDLOT_PROMPT=${{SANDLOT_PROMPT%.}}\n"
        f"exec </dev/null\n{command}\n"
    )


def _run(job: Job, command: str, around: Surroundings, files_format: str, folder: str) -> TargetAnswer:
    output = f"{folder}/output"
    wants_output = "{OUTPUT_FILE}" in command
    values = {
        "PROMPT": '"$SANDLOT_PROMPT"',
        "PROMPT_FILE": shlex.quote(f"{folder}/prompt.txt"),
        "OUTPUT_FILE": shlex.quote(output),
        "WORKSPACE": "/workspace",
        "EVAL_ID": shlex.quote(job.case.id),
        "ATTEMPT": str(job.attempt),
        "GUIDELINES": "''",
        "FILES": _files(job, folder, files_format) if "{FILES}" in command else "",
    }
    text = script(fill(command, values), folder)
    ran = run_command(job, around, ("/bin/sh", "-c", text), job.case.prompt.encode("utf-8", "replace"), job.on_line)
    if ran.failure:
        return _failed(ran)
    answer = ran.stdout.removesuffix("\n")
    if wants_output:
        try:
            answer = _output(job, output)
        except (OSError, SandlotError) as error:
            return replace(
                _failed(ran), error=f"the command ended well, but left no output file that can be used: {error}"
            )
    elif ran.cut:
        return replace(_failed(ran), error=f"the command printed more than {ANSWER_BYTES >> 20} MiB as its answer")
    return answer_from(answer, duration_ms=ran.duration_ms, log=ran.log)


def _failed(ran: Ran) -> TargetAnswer:
    last = next((line for line in reversed(ran.log.splitlines()) if line.strip()), "")
    error = f"the command failed: {ran.failure}" + (f": {last.strip()[:300]}" if last else "")
    return TargetAnswer(ran.stdout, ran.duration_ms, error=error, timed_out=ran.timed_out, log=ran.log)


def _output(job: Job, path: str) -> str:
    """Raises OSError and SandlotError for one that is missing, too large, or no regular file."""
    if job.spec.placement is not Placement.HOST:
        read = job.place.files.read(path, offset=0, max_bytes=ANSWER_BYTES)
        if not read.complete:
            raise OSError(f"it is larger than {ANSWER_BYTES >> 20} MiB")
        return read.content
    # A FIFO would wait for a writer for ever, and a link may lead anywhere.
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError("it is no regular file")
        content = file.read(ANSWER_BYTES + 1)
    if len(content) > ANSWER_BYTES:
        raise OSError(f"it is larger than {ANSWER_BYTES >> 20} MiB")
    return content.decode("utf-8", "replace")


def _files(job: Job, folder: str, files_format: str) -> str:
    """The files of the input, written beside the prompt; their quoted paths as ``files_format`` says."""
    write = _writer(job)
    words = []
    for at, part in enumerate(part for message in job.case.input for part in message.parts if part.file):
        name = os.path.basename(part.file or "") or "file"
        path = f"{folder}/files/{at}/{name}"
        write(path, part.text)
        words.append(files_format.replace("{path}", shlex.quote(path)).replace("{basename}", shlex.quote(name)))
    return " ".join(words)


def _writer(job: Job) -> Callable[[str, str], object]:
    if job.spec.placement is not Placement.HOST:
        return job.place.files.write

    def write(path: str, text: str) -> None:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)

    return write
