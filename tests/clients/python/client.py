"""An unmodified Python MCP SDK (`mcp` 1.x or 2.x, whichever the interpreter's environment holds) driven by a list of steps.

    python client.py URL STEPS

URL may be `stdio:` and a JSON list: a server's command.

STEPS is a JSON list; each step prints one JSON line per result on standard output:

    {"list": true}                                       {"list": ["name", ...]}
    {"call": NAME, "arguments": {...}, "times": N}       {"call": NAME, "isError": false, "text": "..."}   N times
                                                         {"call": NAME, "error": {"code": C, "message": "..."}}
    {"read": URI}                                        {"read": URI, ...} as for a call
    {"prompt": NAME}                                     {"prompt": NAME, ...} as for a call
    {"answer": true}                                     nothing; what servers ask is answered from the beginning, and told as
                                                         {"asked": METHOD}
    {"offers": true}                                     {"offers": ["URI", ..., "TEMPLATE", ..., "PROMPT", ...]}
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


def answers():
    """Callbacks for what servers ask."""
    from mcp import types

    def answering(method, result):
        async def answer(*_):
            say({"asked": method})
            return result

        return answer

    sampled = types.CreateMessageResult(
        role="assistant", model="none", content=types.TextContent(type="text", text="sampled")
    )
    elicited = types.ElicitResult(action="accept", content={"name": "Joe"})
    roots = types.ListRootsResult(roots=[types.Root(uri="file:///work")])
    return {
        "sampling_callback": answering("sampling/createMessage", sampled),
        "elicitation_callback": answering("elicitation/create", elicited),
        "list_roots_callback": answering("roots/list", roots),
    }


@asynccontextmanager
async def connect(url, asked):
    """A session and its protocol version, under either major version of the SDK."""
    from mcp.client.stdio import StdioServerParameters, stdio_client

    command = json.loads(url.removeprefix("stdio:")) if url.startswith("stdio:") else None
    if command:
        command = StdioServerParameters(command=command[0], args=command[1:])
    try:
        from mcp import Client
    except ImportError:
        from mcp import ClientSession
        from mcp.client.streamable_http import streamable_http_client

        callbacks = answers() if asked else {}
        transport = stdio_client(command) if command else streamable_http_client(url)
        async with transport as (read, write, *_), ClientSession(read, write, **callbacks) as session:
            hello = await session.initialize()
            yield session, hello.protocolVersion
    else:
        callbacks = answers() if asked else {}
        async with Client(command or url, **callbacks) as client:
            yield client, client.protocol_version


def joined(blocks):
    return "".join(getattr(block, "text", "") for block in blocks)


async def attempt(what, request):
    """The text of a result; what the SDK raises for a JSON-RPC error is one too."""
    try:
        return {**what, **await request}
    except Exception as error:
        detail = getattr(error, "error", None)
        if detail is None:
            raise
        return {**what, "error": {"code": detail.code, "message": detail.message}}


async def call(session, name, arguments):
    result = await session.call_tool(name, arguments)
    failed = result.is_error if hasattr(result, "is_error") else result.isError
    return {"isError": bool(failed), "text": joined(result.content)}


async def read(session, uri):
    return {"isError": False, "text": joined((await session.read_resource(uri)).contents)}


async def prompt(session, name):
    messages = (await session.get_prompt(name)).messages
    return {"isError": False, "text": joined(message.content for message in messages)}


async def offers(session):
    """What the server's other lists hold."""
    resources = [str(resource.uri) for resource in (await session.list_resources()).resources]
    listed = await session.list_resource_templates()
    templates = getattr(listed, "resource_templates", None) or getattr(listed, "resourceTemplates", [])
    templates = [getattr(one, "uri_template", None) or one.uriTemplate for one in templates]
    return resources + templates + [prompt.name for prompt in (await session.list_prompts()).prompts]


async def run(url, steps):
    asked = any("answer" in step for step in steps)
    async with connect(url, asked) as (session, version):
        say({"ready": str(version)})
        for step in steps:
            if "list" in step:
                fresh = {"cache_mode": "refresh"} if version == "2026-07-28" else {}
                tools = await session.list_tools(**fresh)
                say({"list": [tool.name for tool in tools.tools]})
            elif "call" in step:
                for _ in range(step.get("times", 1)):
                    calling = call(session, step["call"], step.get("arguments", {}))
                    say(await attempt({"call": step["call"]}, calling))
            elif "read" in step:
                say(await attempt({"read": step["read"]}, read(session, step["read"])))
            elif "prompt" in step:
                say(await attempt({"prompt": step["prompt"]}, prompt(session, step["prompt"])))
            elif "offers" in step:
                say({"offers": await offers(session)})
            elif "wait" in step:
                say({"wait": True})
                await anyio.to_thread.run_sync(sys.stdin.readline)
            elif "answer" not in step:
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
