"""The MCP server: tools derived from operations and a surface of ``modes``."""
