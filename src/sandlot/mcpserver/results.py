"""Results as answers: of commands, files and changes here, of workspaces and what lives in them in ``facts``."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from typing import Any

from sandlot.mcpserver import facts
from sandlot.mcpserver.answering import CAP, Answer, Asked, call_of, guarded
from sandlot.mcpserver.cleaning import cut, one_line, shown_exactly, shown_plainly, size_of

__all__ = ["FIRST_LIMITS", "answer_of"]

LISTED = 60
FIRST_LIMITS: dict[str, tuple[str, int]] = {
    "workspace_exec": ("max_output", 8800),
    "workspace_run": ("max_output", 8800),
    "workspace_wait": ("max_output", 8800),
    "workspace_logs": ("limit", 9000),
    "service_logs": ("limit", 4500),
    "shell_read": ("max_bytes", 9000),
    "file_read": ("max_bytes", 9000),
    "diff": ("max_bytes", 8000),
    "file_list": ("limit", 200),
    "file_search": ("limit", 100),
}
"""The field that bounds an operation's answer, and the first try; when the text is too long, it is asked for less."""


def answer_of(asked: Asked, result: Any) -> Answer:
    """The answer to a call; its text is at most CAP bytes if the request can be bounded, else it is cut to that."""
    answer = FORMATS.get(asked.tool.operation, facts.anything)(asked, result)
    if size_of(answer.text) <= CAP or asked.tool.operation in FIRST_LIMITS:
        return answer
    return Answer(cut(answer.text, CAP - 40) + "\n[... the rest is left out ...]", answer.structured)


def outcome_words(command: Any) -> str:
    """How a command ended, in a few words."""
    outcome = command.outcome
    if outcome is None:
        return "running"
    if outcome.limit is not None:
        return f"ended: the workspace's limit on {outcome.limit.replace('_', ' ')} was reached"
    if outcome.state.value == "timed_out":
        return "ended: its time was up (argument timeout)"
    if outcome.exit_code is not None:
        return f"exit {outcome.exit_code}"
    return str(outcome.signal or outcome.state.value.replace("_", " "))


def _command(asked: Asked, result: Any) -> Answer:
    command, outcome = result.command, result.command.outcome
    took = f" after {outcome.duration_ms / 1000:.2f} s" if outcome else ""
    lines = [f"command {command.number}: {outcome_words(command)}{took}"]
    if outcome is None:
        lines[0] = f"command {command.number} runs in the background"
        if command.timeout_ms:
            lines[0] += f"; it is ended when it has run for {command.timeout_ms / 1000:g} s"
        if "workspace_logs" in asked.shown:
            wait = call_of("workspace_logs", number=command.number, wait="50s")
            lines.append(f"read on, or wait for its end: {wait}")
    elif outcome.survivors:
        lines.append(f"{outcome.survivors} of its processes could not be killed")
    parts = []
    for name, output in (("stdout", result.stdout), ("stderr", result.stderr)):
        if output.truncated and outcome is not None:
            half = max(1, asked.fields["max_output"] // 2)
            more = call_of("workspace_logs", number=command.number, stream=name, offset=half)
            lines.append(f"{name}: {output.total_bytes} bytes, beginning and end shown; all of it: {more}")
        if output.lost_bytes:
            lines.append(f"{name}: {output.lost_bytes} bytes were too many to keep")
        text = shown_plainly(output.text).strip("\n")
        if text:
            parts.append(f"--- {name}\n{text}")
    if result.denied:
        parts.append("--- refused by the network policy\n" + "\n".join(one_line(each) for each in result.denied[:20]))
    if not parts and outcome is not None:
        lines.append("it printed nothing")
    return Answer(guarded(lines, asked.workspace, "output", "\n".join(parts)))


def _killed(_asked: Asked, result: Any) -> Answer:
    return Answer(f"command {result.command.number}: {outcome_words(result.command)}")


def _logs(asked: Asked, result: Any) -> Answer:
    if result.output is None:
        return _history(asked, result)
    command = result.commands[0]
    stream, start = asked.fields.get("stream", "stdout"), asked.fields.get("offset", 0)
    data = os.fsencode(result.output)
    if result.next_offset is not None:
        data = data[: len(data) - _incomplete(data)]
    end = start + len(data)
    lines = [
        f"command {command.number}: {outcome_words(command)}; {stream}: bytes {start} to {end} of {result.total_bytes}"
    ]
    if end < result.total_bytes:
        lines.append(f"read on: {asked.next_call(offset=end)}")
    elif command.outcome is None:
        more = asked.next_call(offset=end, wait="50s")
        lines.append(f"it goes on; what comes next: {more}")
    return Answer(guarded(lines, asked.workspace, "output", shown_plainly(data.decode("utf-8", "replace"))))


def _incomplete(data: bytes) -> int:
    """How many bytes at the end only begin a character of UTF-8: the next answer has all of it."""
    for back in range(1, min(3, len(data) - 1) + 1):
        byte = data[-back]
        if byte >= 0xC0:
            return back if (2 if byte < 0xE0 else 3 if byte < 0xF0 else 4) > back else 0
        if byte < 0x80:
            break
    return 0


def _history(asked: Asked, result: Any) -> Answer:
    """The latest commands; each can be read by its number, so no page is needed for earlier ones."""
    shown = result.commands[-LISTED:]
    lines = ["no commands"]
    if shown:
        lines = [
            f"commands {shown[0].number} to {shown[-1].number}; to read one: {call_of('workspace_logs', number='N')}"
        ]
    if len(result.commands) > len(shown):
        lines.append("earlier ones are left out, but can be read by their numbers")
    rows = [f"{each.number}. [{outcome_words(each)}] {one_line(shlex.join(each.argv), 120)}" for each in shown]
    return Answer(guarded(lines, asked.workspace, "history", "\n".join(rows)))


def _diff(asked: Asked, result: Any) -> Answer:
    patch, strange = shown_exactly(result.patch)
    lines, parts = [], []
    if asked.fields.get("handle") is None:
        lines = [f"{len(result.files)} files changed, +{result.additions} -{result.deletions}"]
        parts = [_change(each) for each in result.files[:LISTED]]
        if len(result.files) > LISTED:
            parts.append(f"... and {len(result.files) - LISTED} more")
    if result.ignored:
        lines.append(f"{result.ignored} new files that git ignores are left out")
    if result.redacted:
        lines.append("values of secrets are blanked out: the patch does not make the files of the workspace")
    if strange:
        lines.append(
            f"{strange} characters that cannot be shown are left out or written as \\x..: do not apply this text"
        )
    if result.handle is not None:
        more = asked.next_call(handle=result.handle, offset=result.next_offset)
        lines.append(f"the patch has {result.patch_bytes} bytes; read on: {more}")
    return Answer(guarded(lines, asked.workspace, "diff", "\n".join([*parts, *([patch] if patch else [])])))


def _change(change: Any) -> str:
    counts = "binary" if change.binary else f"+{change.additions} -{change.deletions}"
    path = f"{one_line(change.old_path)} -> {one_line(change.path)}" if change.old_path else one_line(change.path)
    return f"{change.status.value} {path} {counts}" + (
        f" (not in the patch: {change.omitted})" if change.omitted else ""
    )


def _read(asked: Asked, result: Any) -> Answer:
    data, last = os.fsencode(result.content), result.last_line
    by_line = bool(result.last_line or result.first_line)
    cut_line = False
    if by_line and not result.complete and not data.endswith(b"\n"):
        whole = data.rfind(b"\n") + 1
        if whole:  # the last line has only begun
            data, last = data[:whole], last - 1
        else:
            cut_line = True
    text, strange = shown_exactly(os.fsdecode(data[: len(data) - (0 if result.complete else _incomplete(data))]))
    path = one_line(result.path)
    if by_line:
        total = f" of {result.total_lines}" if result.total_lines is not None else ""
        lines = [f"{path}: lines {result.first_line} to {last}{total}, file of {result.size} bytes"]
    else:
        end = result.offset + len(data)
        lines = [f"{path}: bytes {result.offset} to {end} of {result.size}"]
    if strange:
        lines.append(f"{strange} characters that cannot be shown are left out or written as \\x..")
    if cut_line:
        lines.append(f"line {last} is too long to be shown whole: cut it with a command of workspace_exec")
    if not result.complete and (not by_line or asked.fields.get("lines") is None or len(data) < result.sent_bytes):
        lines.append(f"read on: {asked.next_call(first_line=last + 1) if by_line else asked.next_call(offset=end)}")
    return Answer(guarded(lines, asked.workspace, "file", text) if text else "\n".join([*lines, "it is empty here"]))


def _listed(asked: Asked, result: Any) -> Answer:
    lines = [f"{len(result.entries)} entries"]
    if result.unreadable_folders:
        lines.append(f"{result.unreadable_folders} folders cannot be read")
    rows = [_entry(each) for each in result.entries]
    if result.cursor is not None:
        if asked.takes("cursor"):
            lines.append("there are more: call again with the cursor that the last line names")
            rows.append(f"cursor: {one_line(result.cursor, 4096)}")
        else:
            lines.append("there are more: list a folder below, or give a glob")
    return Answer(guarded(lines, asked.workspace, "files", "\n".join(rows)))


def _entry(each: Any) -> str:
    path = one_line(each.path, 1000)
    if each.kind == "folder":
        return f"{path}/"
    if each.kind == "symlink":
        return f"{path} -> {one_line(each.target)}"
    return f"{path} ({each.size})" if each.kind == "file" else f"{path} (neither file, folder nor symlink)"


def _searched(asked: Asked, result: Any) -> Answer:
    found = sum(each.is_match for each in result.matches)
    lines = [f"{found} matching lines in {result.files_searched} files searched"]
    if result.truncated:
        lines.append("there are more: narrow the pattern, the path or the glob")
    rows = [
        f"{one_line(each.path)}{':' if each.is_match else '-'}{each.line}: {shown_exactly(each.text)[0]}"
        for each in result.matches
    ]
    return Answer(guarded(lines, asked.workspace, "files", "\n".join(rows)))


def _patched(asked: Asked, result: Any) -> Answer:
    lines = [f"{'would apply' if result.checked_only else 'applied'}: {len(result.files)} files"]
    rows = [
        f"{each.status} {one_line(each.path)} +{each.additions} -{each.deletions}" for each in result.files[:LISTED]
    ]
    return Answer(guarded(lines, asked.workspace, "files", "\n".join(rows)))


def _written(asked: Asked, result: Any) -> Answer:
    path = one_line(asked.fields["path"])  # as it was asked for: what the workspace says of it comes from inside
    return Answer(f"{'created' if result.created else 'replaced'} {path}, {result.bytes} bytes")


def _exported(asked: Asked, result: Any) -> Answer:
    lines = [f"{result.files} files, {result.bytes} bytes are now at {one_line(result.destination, 1000)}"]
    rows = [f"left behind, neither file, folder nor symlink: {one_line(each)}" for each in result.skipped[:LISTED]]
    rows += [f"symlink that leads out of the export: {one_line(each)}" for each in result.escaping_links[:LISTED]]
    return Answer(guarded(lines, asked.workspace, "files", "\n".join(rows)))


def _summary(asked: Asked, result: Any) -> Answer:
    return Answer(guarded(["what happened since the workspace was made or reset"], asked.workspace, "summary",
                          shown_plainly(result.text).strip("\n")))  # fmt: skip


FORMATS: dict[str, Callable[[Asked, Any], Answer]] = {
    **facts.FORMATS,
    "diff": _diff,
    "file_list": _listed,
    "file_read": _read,
    "file_search": _searched,
    "file_write": _written,
    "patch_apply": _patched,
    "workspace_exec": _command,
    "workspace_export": _exported,
    "workspace_kill": _killed,
    "workspace_logs": _logs,
    "workspace_run": _command,
    "workspace_summary": _summary,
    "workspace_wait": _command,
}
