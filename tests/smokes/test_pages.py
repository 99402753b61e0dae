"""The recipes' pages say what is so: the mode, the commands, the calls, the steps."""

from __future__ import annotations

import ast
import inspect
import re

import pytest
from smokes.__main__ import STORIES
from smokes.story import Story

from sandlot.mcpserver.tools import find_tool, tools_of
from sandlot.modes import StartupMode, surface
from tests.docs.sessions import ROOT
from tests.smokes.pages import FOLDER, calls, headings, page


@pytest.fixture(params=STORIES)
def story(request: pytest.FixtureRequest) -> Story:
    found: Story = STORIES[request.param]
    return found


def test_every_recipe_has_a_smoke_and_every_mode_a_recipe() -> None:
    assert {path.stem for path in FOLDER.glob("*.md")} == {"index", *STORIES}
    assert {each.mode for each in STORIES.values()} == set(StartupMode)


def test_the_smoke_declares_the_steps_of_the_page(story: Story) -> None:
    tree = ast.parse(inspect.getsource(inspect.getmodule(story.play) or story.play))
    declared = [
        node.args[0].value
        for node in sorted(
            (each for each in ast.walk(tree) if isinstance(each, ast.Call)),
            key=lambda each: (each.lineno, each.col_offset),
        )
        if ast.unparse(node.func) == "tell.step" and isinstance(node.args[0], ast.Constant)
    ]
    assert declared == headings(story.name)
    assert len(declared) >= 9


def test_a_page_names_its_mode_startup_command_and_smoke(story: Story) -> None:
    text = page(story.name)
    assert f"`{story.mode}`" in text
    assert f"`sandlot host connect claude-code --mode {story.mode}`" in text
    assert f"`sandlot mcp serve --mode {story.mode} --project-path .`" in text
    assert f"`make smoke-{story.name}`" in text


def test_the_index_has_a_line_for_each_recipe(story: Story) -> None:
    line = next(each for each in page("index").splitlines() if f"({story.name}.md)" in each and each.startswith("| ["))
    for words in (f"`{story.mode}`", f"--mode {story.mode}`", f"`make smoke-{story.name}`"):
        assert words in line


def test_every_call_on_a_page_is_one_that_its_mode_takes(story: Story) -> None:
    found = surface(story.mode)
    tools = tools_of(found)
    shown = calls(story.name)
    assert len(shown) > 5
    for name, arguments in shown:
        find_tool(tools, found, name).request(arguments)


def test_there_is_a_make_target_for_each_and_for_all() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for name in (*STORIES, "use-cases"):
        what = "all" if name == "use-cases" else name
        assert re.search(rf"^smoke-{name}: .*\n\t\$\(BIN\)/python -m smokes {what}$", makefile, re.MULTILINE)


def test_the_page_of_the_modes_links_each_mode_s_recipe(story: Story) -> None:
    text = (ROOT / "docs" / "reference" / "startup-modes.md").read_text()
    row = next(line for line in text.splitlines() if line.startswith(f"| [`{story.mode}`]"))
    assert "../use-cases/" in row


def test_the_evals_of_a_recipe_s_project_are_shown_on_its_page() -> None:
    assert {"eval_run", "eval_results", "eval_compare"} <= {name for name, _ in calls("review-eval")}
