"""A Python SDK server (`mcp` 1.x) whose tools are what a file says when it is asked: a JSON list of definitions.

    python changes.py PORT TRANSPORT FILE

Each answers `NAME: done`.
"""

import json
import sys

from mcp import types
from mcp.server.fastmcp import FastMCP

port, transport, path = sys.argv[1:]
server = FastMCP("changes", host="0.0.0.0", port=int(port), log_level="WARNING")


@server._mcp_server.list_tools()
async def list_tools():
    with open(path, encoding="utf-8") as file:
        return [types.Tool.model_validate(tool) for tool in json.load(file)]


@server._mcp_server.call_tool(validate_input=False)
async def call_tool(name, arguments):
    return [types.TextContent(type="text", text=f"{name}: done")]


server.run(transport=transport)
