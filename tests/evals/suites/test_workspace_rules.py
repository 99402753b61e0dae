"""The workspace model as a table and as runs: each rule by `eval run` itself, with what `run.json` keeps of it."""

from __future__ import annotations

import itertools
import json
import re
from typing import NamedTuple

import pytest

from tests.evals.suites.conftest import TEST, Suites

WRITES = "targets: [{name: mock, kind: mock, response: hello, files: {made: 'x'}}]\n"


class Said(NamedTuple):
    """What is said on the command line and in YAML; None: nothing."""

    option_mode: str | None
    option_path: str | None
    mode: str | None
    path: str | None


OPTIONS = list(itertools.product((None, "pooled", "temp", "static"), (None, "", "option")))
WRITTEN = list(itertools.product((None, "pooled", "temp", "static"), (None, "", "yaml")))


Meant = tuple[str, str | None, str, str]


def meant(said: Said) -> Meant | None:
    """(mode, folder, who said the mode, who said the folder) by the words of the specification; None: an error."""
    static_yaml = said.mode == "static" or (said.mode is None and said.path)
    if said.path and not static_yaml:
        return None  # a YAML path with a mode that is not static
    if said.option_path == "":
        return None
    if said.option_path:
        if said.option_mode not in (None, "static"):
            return None  # --workspace-path together with a non-static --workspace-mode
        return "static", "option", "--workspace-mode" if said.option_mode else "--workspace-path", "--workspace-path"
    mode, who = (said.option_mode, "--workspace-mode") if said.option_mode else (said.mode, "yaml")
    if mode is None:
        mode, who = ("static", "yaml") if said.path else ("pooled", "default")
    if mode != "static":
        return mode, None, who, ""
    return (mode, "yaml", who, "yaml") if said.path else None  # static without, or with an empty, path


@pytest.mark.parametrize(("option_mode", "option_path"), OPTIONS)
def test_every_combination_of_options_and_yaml_is_decided_as_the_specification_says(
    suites: Suites, option_mode: str | None, option_path: str | None
) -> None:
    words = ["--workspace-mode", option_mode] if option_mode is not None else []
    words += ["--workspace-path", option_path] if option_path is not None else []
    good, bad = {}, set()
    for number, (mode, path) in enumerate(WRITTEN):
        written = {name: value for name, value in (("mode", mode), ("path", path and f"./{path}")) if value is not None}
        suites.write(f"s{number:02}.eval.yaml", f"name: s{number:02}\nworkspace: {json.dumps(written)}\n{TEST}")
        wanted = meant(Said(option_mode, option_path, mode, path))
        if wanted is None:
            bad.add(f"s{number:02}.eval.yaml")
        else:
            good[f"s{number:02}"] = wanted
    whole = suites.run("run", ".", *words)
    validated = suites.run("validate", ".", *words)
    assert (whole.returncode, validated.returncode, validated.stderr) == (2, 2, whole.stderr)
    if good:  # each that is wrong is named, and no other
        assert set(re.findall(r"s\d\d\.eval\.yaml", whole.stderr)) == bad
    for name in bad:
        (suites.folder / name).unlink()
    if good:
        told = json.loads(suites.run("run", ".", "--explain", "--json", *words).stdout)
        assert suites.run("validate", ".", *words).returncode == 0
        found = {each["suite"]: {row["name"]: row for row in each["settings"]} for each in told["workspaces"]}
        assert set(found) == set(good)
        for name, wanted in good.items():
            _compare(suites, name, found[name], wanted)
    assert suites.manifests() == []
    assert not any((suites.folder / name).exists() for name in ("option", "yaml"))  # nothing was made by asking


def _compare(suites: Suites, name: str, rows: dict[str, dict[str, str]], wanted: Meant) -> None:
    mode, folder, who, whose = wanted
    assert rows["mode"]["value"] == mode
    assert rows["mode"]["from"].startswith(f"{name}.eval.yaml:2:" if who == "yaml" else who)
    assert ("path" in rows) == (folder is not None)
    if folder is not None:
        assert rows["path"]["value"] == f"{suites.folder}/{folder}"
        assert rows["path"]["from"].startswith(f"{name}.eval.yaml:2:" if whose == "yaml" else whose)


# -- runs: where a trial was, and what run.json says of it -------------------------------------------------------------


def test_a_run_without_a_word_is_pooled_and_says_so(suites: Suites) -> None:
    plan = suites.ran(TEST)
    assert (plan["mode"], plan["path"], plan["provenance"]) == ("pooled", None, {"mode": "default"})
    assert suites.pooled() == 1


def test_a_run_in_mode_temp_leaves_nothing(suites: Suites) -> None:
    plan = suites.ran(f"workspace: {{mode: temp}}\n{TEST}")
    assert (plan["mode"], plan["provenance"]) == ("temp", {"mode": "s.eval.yaml:1:13"})
    assert suites.workspaces() == []


def test_a_run_with_a_path_and_no_mode_works_in_that_folder(suites: Suites) -> None:
    suites.write(".sandlot/targets.yaml", WRITES)
    plan = suites.ran(f"workspace: {{path: ./own}}\n{TEST}")
    assert (plan["mode"], plan["path"]) == ("static", f"{suites.folder}/own")
    assert plan["provenance"] == {"mode": "s.eval.yaml:1:13 (a path means static)", "path": "s.eval.yaml:1:13"}
    assert (suites.folder / "own/made").read_text() == "x"


@pytest.mark.parametrize("more", [(), ("--workspace-mode", "static")])
@pytest.mark.parametrize("written", ["", "workspace: {mode: temp}\n", "workspace: {path: ./theirs}\n"])
def test_the_path_option_of_a_run_means_static_and_outranks_everything(
    suites: Suites, more: tuple[str, ...], written: str
) -> None:
    suites.write(".sandlot/targets.yaml", WRITES)
    plan = suites.ran(written + TEST, "--workspace-path", "mine", *more)
    assert (plan["mode"], plan["path"]) == ("static", f"{suites.folder}/mine")
    assert plan["provenance"]["path"] == "--workspace-path"
    assert plan["provenance"]["mode"] == ("--workspace-mode" if more else "--workspace-path (means static)")
    assert (suites.folder / "mine/made").exists()
    assert not (suites.folder / "theirs").exists()


def test_the_mode_option_of_a_run_outranks_yaml_and_leaves_its_folder_alone(suites: Suites) -> None:
    suites.write(".sandlot/targets.yaml", WRITES)
    plan = suites.ran(f"workspace: {{path: ./own}}\n{TEST}", "--workspace-mode", "temp")
    assert (plan["mode"], plan["path"], plan["provenance"]["mode"]) == ("temp", None, "--workspace-mode")
    assert not (suites.folder / "own").exists()


def test_a_run_takes_its_workspace_from_a_file_and_paths_in_it_from_there(suites: Suites) -> None:
    suites.write(".sandlot/targets.yaml", WRITES)
    suites.write("shared/w.yaml", "path: ./own\ntemplate: ./template\nhooks: {before_all: {command: [sh, ./go.sh]}}\n")
    suites.write("shared/template/of-template", "x")
    suites.write("shared/go.sh", "echo x > /workspace/of-hook\n")
    plan = suites.ran(f"workspace: ./shared/w.yaml\n{TEST}")
    assert plan["path"] == f"{suites.folder}/shared/own"
    assert plan["provenance"]["template"] == "shared/w.yaml:2:1"
    assert sorted(path.name for path in (suites.folder / "shared/own").iterdir()) == ["made", "of-hook", "of-template"]


# -- what is gone ------------------------------------------------------------------------------------------------------

GONE = (
    "--keep-workspaces",
    "--cleanup-workspaces",
    "--retain-on-success",
    "--retain-on-failure",
    "--pool-workspaces",
    "--no-pool",
)


@pytest.mark.parametrize("command", ["run", "validate", "resume"])
def test_an_option_that_is_gone_is_unknown_in_every_spelling_and_nothing_is_run(suites: Suites, command: str) -> None:
    suites.write("s.eval.yaml", TEST)
    what = "latest" if command == "resume" else "s.eval.yaml"
    for option in GONE:
        for words in ([what, option], [option, what], [what, f"{option}=always"], [what, option, "always"]):
            done = suites.run(command, *words)
            assert done.returncode == 2, (words, done)
            assert f"there is no option {option}" in done.stderr
        shortened = suites.run(command, what, option[:-2])  # no abbreviation either
        assert shortened.returncode == 2
        assert "unrecognized" in shortened.stderr or "no option" in shortened.stderr, shortened
    assert suites.manifests() == []
    assert suites.workspaces() == []


def test_no_help_speaks_of_what_is_gone(suites: Suites) -> None:
    told = "".join(suites.run(command, "--help").stdout for command in ("run", "resume", "validate"))
    assert "--workspace-mode" in told
    assert not [option for option in GONE if option in told]


def test_a_path_option_of_blanks_is_empty_and_a_tilde_is_the_home(suites: Suites) -> None:
    assert "--workspace-path is empty" in suites.both_refuse(TEST, "--workspace-path", "  ")
    told = suites.explained(TEST, "--workspace-path=~/no-such-folder")
    assert told["path"][0].endswith("/no-such-folder")
    assert "~" not in told["path"][0]
