"""One client of the matrix: everything that a session does, told in JSON lines (`mcp` 1.x, `mcp` 2.x or `fastmcp`, whichever
the interpreter's environment holds).

    python tour.py URL STEPS

STEPS is a JSON list of {"call": TOOL, "arguments": {...}, "within": SECONDS}, {"read": URI}, {"prompt": NAME, "arguments":
{...}}, {"subscribe": URI}, {"level": LEVEL}. Before them everything is listed, page by page; what the server asks for is
answered. Each line is what the SDK gave, whole: long strings as their length and digest. Errors are lines too.
"""

import asyncio
import hashlib
import json
import sys
from contextlib import asynccontextmanager
from datetime import timedelta

url, steps = sys.argv[1], json.loads(sys.argv[2])
old = url.endswith("/sse")
seen = []


def short(value):
    if isinstance(value, str) and len(value) > 500:
        return f"{len(value)} characters {hashlib.sha256(value.encode()).hexdigest()[:16]}"
    if isinstance(value, dict):
        return {key: short(inner) for key, inner in value.items()}
    return [short(inner) for inner in value] if isinstance(value, list) else value


def plain(value):
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json", by_alias=True, exclude_none=True)
    return [plain(inner) for inner in value] if isinstance(value, list) else str(value)


def say(what, result):
    """Tells a result, after what the server asked or told on the way to it."""
    print(json.dumps({"step": what, "on the way": short(seen[:]), "result": short(result)}, sort_keys=True), flush=True)
    seen.clear()


def answers():
    import mcp.types as types

    async def sampled(*_):
        seen.append("sampling")
        content = types.TextContent(type="text", text="sampled")
        return types.CreateMessageResult(role="assistant", model="none", content=content)

    async def elicited(_, params):
        seen.append({"elicitation": plain(params)})
        form = getattr(params, "mode", "form") != "url"
        return types.ElicitResult(action="accept", content={"name": "Joe"} if form else None)

    async def roots(*_):
        # Asked for in the background, at any time.
        return types.ListRootsResult(roots=[types.Root(uri="file:///work")])

    return {"sampling_callback": sampled, "elicitation_callback": elicited, "list_roots_callback": roots}


@asynccontextmanager
async def session():
    """A session and the version that it speaks."""
    try:
        import fastmcp
    except ImportError:
        pass
    else:
        import mcp.types as types
        from fastmcp.client.elicitation import ElicitResult

        async def sampled(*_):
            seen.append("sampling")
            return "sampled"

        async def elicited(message, *_):
            seen.append({"elicitation": message})
            return ElicitResult(action="accept", content={"name": "Joe"})

        client = fastmcp.Client(url, roots=["file:///work"], sampling_handler=sampled, elicitation_handler=elicited)
        async with client:
            yield client.session, client.session.protocol_version
        return
    try:
        from mcp import Client
    except ImportError:
        from mcp import ClientSession
        from mcp.client.sse import sse_client
        from mcp.client.streamable_http import streamable_http_client

        transport = sse_client(url) if old else streamable_http_client(url)
        async with transport as (read, write, *_), ClientSession(read, write, **answers()) as client:
            hello = await client.initialize()
            say("initialize", plain(hello))
            yield client, hello.protocolVersion
    else:
        from mcp.client.sse import sse_client

        async with Client(sse_client(url) if old else url, **answers()) as client:
            yield client, client.protocol_version


async def told(what, request):
    try:
        say(what, plain(await request))
    except Exception as error:
        detail = getattr(error, "error", None)
        say(what, {"error": plain(detail) if detail else f"{type(error).__name__}: {error}"})


async def pages(client, what):
    listing = getattr(client, f"list_{what}")
    cursor, number = None, 0
    while number == 0 or cursor is not None:
        number += 1
        try:
            # An empty cursor is one, too.
            page = await listing() if cursor is None else await listing(cursor=cursor)
        except Exception as error:
            detail = getattr(error, "error", None)
            return say(f"{what} {number}", {"error": plain(detail) if detail else type(error).__name__})
        say(f"{what} {number}", plain(page))
        cursor = page.nextCursor if one else page.next_cursor


def call(client, step):
    async def progress(done, total, message):
        # Whether the last one is told before the result depends on which is read first.
        if done != total:
            seen.append({"progress": done, "total": total, "message": message})

    more = {"progress_callback": progress}
    if "within" in step:
        seconds = step["within"]
        more["read_timeout_seconds"] = timedelta(seconds=seconds) if one else seconds
    return client.call_tool(step["call"], step.get("arguments", {}), **more)


async def main():
    async with session() as (client, version):
        say("version", str(version))
        for what in ["tools", "resources", "resource_templates", "prompts"]:
            await pages(client, what)
        for step in steps:
            if "call" in step:
                await told(f"call {step['call']}", call(client, step))
            elif "read" in step:
                await told(f"read {step['read']}", client.read_resource(step["read"]))
            elif "prompt" in step:
                await told(f"prompt {step['prompt']}", client.get_prompt(step["prompt"], step.get("arguments")))
            elif "subscribe" in step and hasattr(client, "subscribe_resource"):
                await told(f"subscribe {step['subscribe']}", client.subscribe_resource(step["subscribe"]))
            elif "level" in step and hasattr(client, "set_logging_level"):
                await told(f"level {step['level']}", client.set_logging_level(step["level"]))


def leaves(error):
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in leaves(inner)]
    return [error]


try:
    import mcp

    one = not hasattr(mcp, "Client")
    asyncio.run(main())
    say("end", "closed")
except BaseException as error:
    say("end", "; ".join(f"{type(leaf).__name__}: {leaf}" for leaf in leaves(error)))
    sys.exit(1)
