"""An unmodified Python MCP SDK (`mcp` 1.x or 2.x, whichever the interpreter's environment holds) driven by a list of steps.

    python client.py URL STEPS

STEPS is a JSON list; each step prints one JSON line per result on standard output:

    {"list": true}                                       {"list": ["name", ...]}
    {"call": NAME, "arguments": {...}, "times": N}       {"call": NAME, "isError": false, "text": "..."}   N times
                                                         {"call": NAME, "error": {"code": C, "message": "..."}}
    {"wait": true}                                       {"wait": true}, then one line is read from standard input

The first line is {"ready": PROTOCOL_VERSION}. When the session cannot be made or breaks, the last line is
{"fatal": "..."} and the exit code is 1.
"""

import asyncio
import json
import sys
from contextlib import asynccontextmanager

import anyio.to_thread


def say(result):
    print(json.dumps(result), flush=True)


@asynccontextmanager
async def connect(url):
    """A session and its protocol version, under either major version of the SDK."""
    try:
        from mcp import Client
    except ImportError:
        from mcp import ClientSession
        from mcp.client.streamable_http import streamable_http_client

        async with streamable_http_client(url) as (read, write, _), ClientSession(read, write) as session:
            hello = await session.initialize()
            yield session, hello.protocolVersion
    else:
        async with Client(url) as client:
            yield client, client.protocol_version


async def call(session, name, arguments):
    try:
        result = await session.call_tool(name, arguments)
    except Exception as error:
        detail = getattr(error, "error", None)
        if detail is None:
            raise
        return {"call": name, "error": {"code": detail.code, "message": detail.message}}
    failed = result.is_error if hasattr(result, "is_error") else result.isError
    text = "".join(getattr(block, "text", "") for block in result.content)
    return {"call": name, "isError": bool(failed), "text": text}


async def run(url, steps):
    async with connect(url) as (session, version):
        say({"ready": str(version)})
        for step in steps:
            if "list" in step:
                fresh = {"cache_mode": "refresh"} if version == "2026-07-28" else {}
                tools = await session.list_tools(**fresh)
                say({"list": [tool.name for tool in tools.tools]})
            elif "call" in step:
                for _ in range(step.get("times", 1)):
                    say(await call(session, step["call"], step.get("arguments", {})))
            elif "wait" in step:
                say({"wait": True})
                await anyio.to_thread.run_sync(sys.stdin.readline)
            else:
                raise ValueError(f"unknown step {step}")


def leaves(error):
    """The innermost exceptions of a group: what a person wants to read."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in leaves(inner)]
    return [error]


try:
    asyncio.run(run(sys.argv[1], json.loads(sys.argv[2])))
except BaseException as error:
    say({"fatal": "; ".join(f"{type(leaf).__name__}: {leaf}" for leaf in leaves(error))})
    sys.exit(1)
