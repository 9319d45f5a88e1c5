"""A Python SDK server (`mcp` 1.x) over stdio with the tools of a file, which does as it is told by their arguments.

    python tools.py TOOLS.json CALLS

Each call is appended to the file CALLS as a line of JSON before anything is done. Arguments that any tool understands:

    {"rubbish": true}    lines that are no messages are printed on standard output, before the answer
    {"exit": N}          the process ends at once, unanswered
    {"bytes": N}         so long an answer
    {"add": NAME}        from now on there is another tool
"""

import asyncio
import json
import os
import sys

from mcp import types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

with open(sys.argv[1]) as file:
    TOOLS = [types.Tool.model_validate(tool) for tool in json.load(file)]

RUBBISH = b'starting up ...\n\xff\xfe\x00binary\n{"level":"info","msg":"structured"}\n[1,2]\n\n42\n{"half": \n'

server = Server("tools")


@server.list_tools()
async def list_tools():
    return TOOLS


@server.call_tool(validate_input=False)
async def call_tool(name, arguments):
    with open(sys.argv[2], "a") as file:
        file.write(json.dumps({"tool": name, "arguments": arguments}) + "\n")
    if arguments.get("rubbish"):
        os.write(1, RUBBISH)
    if "add" in arguments:
        TOOLS.append(types.Tool(name=arguments["add"], inputSchema={"type": "object"}))
    if "exit" in arguments:
        os._exit(arguments["exit"])
    text = "x" * arguments["bytes"] if "bytes" in arguments else f"{name}: done"
    return [types.TextContent(type="text", text=text)]


async def main():
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())


asyncio.run(main())
