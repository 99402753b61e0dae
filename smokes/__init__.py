"""The recipes of docs/use-cases, run for real: ``python -m smokes NAME|all [--via mcp|sdk] [--runtime NAME]``.

::

    __main__   which stories, over which face, on which runtime; what is printed; the exit status
    story      what a story is: a mode, a project, steps whose texts are the headings of its page
    scene      one run's folders: a host home with something worth stealing, state, a project made on the spot
    hands      what a story can do to workspaces, whichever face is used
    over_mcp   ... through the official MCP client and ``sandlot mcp serve --mode MODE`` over stdio
    over_sdk   ... through the Python SDK
    answers    facts out of the texts that the MCP server answers with
    projects/  the files of the small projects

and one file for each story. Nothing here is a fake: real runtime, real server, real client, real git.
"""
