"""Templates, repositories and hooks as they are written: what they become, and what never leaves the suite."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandlot.evals.cases import Clone, History, HookName, Placement, ResetKind
from sandlot.evals.repo_specs import contained
from tests.evals.suites.conftest import TEST, Suites


def test_a_template_is_relative_to_the_suite(suites: Suites) -> None:
    (suites.folder / "evals" / "template").mkdir(parents=True)
    plan = suites.load(f"workspace: {{template: ./template}}\n{TEST}", name="evals/s.eval.yaml").tests[0].workspace
    assert plan.template == str(suites.folder / "evals" / "template")
    assert plan.provenance["template"] == "evals/s.eval.yaml:1:13"


@pytest.mark.parametrize(("name", "message"), [("none", "does not exist"), ("a.code-workspace", "is not a folder")])
def test_a_template_must_be_a_folder(suites: Suites, name: str, message: str) -> None:
    suites.write("a.code-workspace", "{}")
    assert message in suites.both_refuse(f"workspace: {{template: ./{name}}}\n{TEST}")


# -- hooks ----------------------------------------------------------------------------------------------------------


def hook(suites: Suites, written: str, name: str = "before_all", file: str = "s.eval.yaml") -> object:
    text = f"workspace: {{hooks: {{{name}: {written}}}}}\n{TEST}"
    return suites.load(text, name=file).tests[0].workspace.hooks[HookName(name)]


def test_a_hook_is_arguments_or_a_line_for_a_shell(suites: Suites) -> None:
    assert hook(suites, "{command: [a, b c]}").command == ("a", "b c")  # type: ignore[attr-defined]  # a Hook
    assert hook(suites, "{command: a | b}").command == ("/bin/sh", "-c", "a | b")  # type: ignore[attr-defined]
    assert hook(suites, "{script: [a]}").command == ("a",)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("name", "seconds"), [(each, 60 if each.startswith("b") else 30) for each in HookName])
def test_hooks_have_a_minute_before_and_half_a_minute_after(suites: Suites, name: str, seconds: float) -> None:
    assert hook(suites, "{command: [x]}", name).timeout_s == seconds  # type: ignore[attr-defined]
    assert hook(suites, "{command: [x], timeout_ms: 1500}", name).timeout_s == 1.5  # type: ignore[attr-defined]


def test_a_hooks_folder_is_that_of_the_file_and_cwd_is_below_it(suites: Suites) -> None:
    (suites.folder / "evals" / "scripts").mkdir(parents=True)
    made = hook(suites, "{command: [x], cwd: scripts}", file="evals/s.eval.yaml")
    assert made.folder == str(suites.folder / "evals")  # type: ignore[attr-defined]
    assert made.cwd == str(suites.folder / "evals" / "scripts")  # type: ignore[attr-defined]
    assert hook(suites, "{command: [x]}").cwd == str(suites.folder)  # type: ignore[attr-defined]


def test_hooks_run_inside_unless_it_is_written(suites: Suites) -> None:
    assert hook(suites, "{command: [x]}").placement is Placement.WORKSPACE  # type: ignore[attr-defined]
    assert hook(suites, "{command: [x], placement: host}").placement is Placement.HOST  # type: ignore[attr-defined]


def test_a_hook_may_only_ask_for_a_reset(suites: Suites) -> None:
    made = hook(suites, "{reset: strict}", "after_each")
    assert (made.command, made.reset) == ((), ResetKind.STRICT)  # type: ignore[attr-defined]


def test_hooks_can_be_switched_off(suites: Suites) -> None:
    plan = suites.plan("{hooks: {enabled: false, before_all: {command: [x]}}}")
    assert not plan.hooks_enabled
    assert suites.plan("{hooks: {before_all: {command: [x]}}}").hooks_enabled


@pytest.mark.parametrize("mode", ["pooled", "temp", "static"])
def test_the_mode_changes_nothing_about_hooks(suites: Suites, mode: str) -> None:
    path = "/work" if mode == "static" else None
    text = "{hooks: {before_each: {command: [x], timeout_ms: 5, reset: fast}}}"
    assert suites.plan(text, mode=mode, path=path).hooks == suites.plan(text).hooks


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("{before_all: {command: [true]}}", "before_all.command[0]: true is not text"),
        ("{before_all: {command: true}}", "before_all.command: true is not text"),
        ("{before_all: {command: []}}", "before_all.command"),
        ("{before_all: {command: ''}}", "before_all.command"),
        ("{before_all: {command: ['']}}", "begins with an empty word"),
        ("{before_all: {timeout_ms: 5}}", "workspace.hooks.before_all has no command"),
        ("{before_all: {}}", "workspace.hooks.before_all has no command"),
        ("{before_all: {command: [x], timeoutMs: 5}}", "unknown field workspace.hooks.before_all.timeoutMs"),
        ("{before_all: {command: [x], timeout_ms: 0}}", "before_all.timeout_ms"),
        ("{before_all: {command: [x], timeout_ms: true}}", "before_all.timeout_ms: true is not"),
        ("{before_all: {command: [x], reset: hard}}", "'hard' is not one of none, fast or strict"),
        ("{before_all: {command: [x], cwd: none}}", "the folder 'none' of this hook does not exist"),
        ("{before_all: {command: [x], cwd: ..}}", "the folder '..' of this hook is not below"),
        ("{before_all: {command: [x], cwd: /workspace/x, placement: host}}", "does not exist"),
        ("{before_all: {command: [x], placement: hots}}", "'hots' is not one of workspace or host"),
        ("{before_al: {command: [x]}}", "unknown field workspace.hooks.before_al"),
        ("{on_reuse: {command: [x]}}", "on_reuse is not a field"),
        ("{before_all: {command: [x], script: [y]}}", "is written under two names"),
    ],
)
def test_a_hook_that_is_wrong_is_an_error_and_never_left_out(suites: Suites, written: str, message: str) -> None:
    assert message in suites.refused(f"workspace: {{hooks: {written}}}\n{TEST}").message


@pytest.mark.parametrize("written", ["cwd: /workspace/repo", "cwd: .", "cwd: .., placement: host"])
def test_a_hook_works_where_it_can_see_something(suites: Suites, written: str) -> None:
    suites.load(f"workspace: {{hooks: {{before_all: {{command: [x], {written}}}}}}}\n{TEST}")


# -- repositories ---------------------------------------------------------------------------------------------------


def with_repo(path: str, source: str, rest: str = "") -> str:
    return f"workspace:\n  repos:\n    - path: {path}\n      source: {source}\n{rest}{TEST}"


GIT = "{type: git, url: https://example.org/a.git}"


def test_a_repository_says_where_it_comes_from_and_what_of_it_is_wanted(suites: Suites) -> None:
    rest = (
        "      checkout: {ref: v1, resolve: local, ancestor: 2}\n"
        "      clone: {depth: 3, filter: 'blob:none', sparse: [src]}\n"
        "      history: shallow\n"
    )
    (repo,) = suites.load(with_repo("./app/", GIT, rest)).tests[0].workspace.repos
    assert (repo.path, repo.url, repo.local) == ("app", "https://example.org/a.git", False)
    assert (repo.ref, repo.resolve, repo.ancestor) == ("v1", "local", 2)
    assert (repo.clone, repo.history) == (Clone(3, "blob:none", ("src",)), History.SHALLOW)


def test_without_a_word_there_is_no_history(suites: Suites) -> None:
    (repo,) = suites.load(with_repo("app", GIT)).tests[0].workspace.repos
    assert (repo.ref, repo.ancestor, repo.history, repo.clone) == (None, 0, History.NONE, Clone())


def test_a_local_repository_is_relative_to_the_file_that_names_it(suites: Suites) -> None:
    (suites.folder / "project").mkdir()
    text = with_repo("app", "{type: local, path: ../project}")
    (repo,) = suites.load(text, name="evals/s.eval.yaml").tests[0].workspace.repos
    assert (repo.url, repo.local) == (str(suites.folder / "project"), True)


@pytest.mark.parametrize(
    "path", ["../../escape", "/abs", "a/../../b", "a/..", "~/x", ".git", "a/.GIT/b", "-x", '"a\\u0001"', "'a\\b'"]
)
def test_a_repository_stays_in_the_workspace(suites: Suites, path: str) -> None:
    error = suites.refused(with_repo(path, GIT))
    assert error.message.startswith("s.eval.yaml:3:7: the repo path")


@given(st.text(alphabet="a./~-\\.g", max_size=12))
def test_a_contained_path_never_climbs(path: str) -> None:
    clean = contained(path)
    if clean is not None:
        assert not clean.startswith("/")
        assert ".." not in clean.split("/")


@pytest.mark.parametrize(
    ("source", "rest", "message"),
    [
        ("{type: git, url: 'ext::sh -c id'}", "", "is no URL that is cloned"),
        ("{type: git, url: --upload-pack=x}", "", "is no URL that is cloned"),
        ("{type: git, url: ../project}", "", "is no URL that is cloned"),
        ("{type: git}", "", "source.url is missing"),
        ("{type: hg, url: x}", "", "source"),
        ("{type: local, path: ./none}", "", "the repository './none' does not exist"),
        ("x", "", "source"),
        (GIT, "      checkout: {ref: --exec=x}\n", "is no name of a commit"),
        (GIT, "      checkout: {ref: 'a..b'}\n", "is no name of a commit"),
        (GIT, "      checkout: {ancestor: -1}\n", "checkout.ancestor"),
        (GIT, "      checkout: {ancestor: true}\n", "checkout.ancestor: true is not a whole number"),
        (GIT, "      clone: {depth: 0}\n", "clone.depth"),
        (GIT, "      clone: {sparse: [../x]}\n", "does not stay in the repo"),
        (GIT, "      history: all\n", "'all' is not one of none, shallow or full"),
        (GIT, "      commit: abc\n", "write checkout: {ref: ...}"),
        (GIT, "      brnach: x\n", "unknown field workspace.repos[0].brnach"),
        (GIT, f"    - path: ./app\n      source: {GIT}\n", "two repos have the path 'app'"),
    ],
)
def test_a_repository_that_is_wrong_is_an_error(suites: Suites, source: str, rest: str, message: str) -> None:
    error = suites.refused(with_repo("app", source, rest))
    assert message in f"{error.message} ({error.hint})"


def test_a_repository_without_a_source_is_an_error(suites: Suites) -> None:
    error = suites.refused(f"workspace: {{repos: [{{path: app}}]}}\n{TEST}")
    assert error.message == "s.eval.yaml:1:21: workspace.repos[0].source is missing"


@pytest.mark.parametrize("url", ["git@example.org:a/b.git", "ssh://git@example.org/a", "file:///srv/a", "git://x/y"])
def test_the_usual_urls_are_taken(suites: Suites, url: str) -> None:
    (repo,) = suites.load(with_repo("app", f"{{type: git, url: '{url}'}}")).tests[0].workspace.repos
    assert repo.url == url
