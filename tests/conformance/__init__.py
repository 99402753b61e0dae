"""What others have written to test MCP servers, run against ours: the official conformance suite and the Inspector.

They come from npm and are not installed by our tests: ``python -m tests.conformance.clients`` (``make conformance``)
puts them into ``SANDLOT_MCP_CLIENTS`` (``/var/tmp/sandlot-clients-mcp``); without them the tests here are skipped.
"""
