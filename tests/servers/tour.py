"""One server of the matrix, by `mcp` 1.x, `mcp` 2.x or `fastmcp`, whichever the interpreter's environment holds.

    python tour.py PORT
"""

import asyncio
import sys

from pydantic import BaseModel

port = int(sys.argv[1])

try:
    from fastmcp import Context, FastMCP
    from fastmcp.utilities.types import Image

    server, kind = FastMCP("tour"), "fastmcp"
except ImportError:
    try:
        from mcp.server import MCPServer
        from mcp.server.mcpserver import Context, Image

        server, kind = MCPServer("tour", log_level="WARNING"), "two"
    except ImportError:
        from mcp.server.fastmcp import Context, FastMCP, Image

        server, kind = FastMCP("tour", host="0.0.0.0", port=port, log_level="WARNING"), "one"


class Sum(BaseModel):
    sum: int
    parts: list[int]


class Name(BaseModel):
    name: str


@server.tool()
def echo(message: str) -> str:
    """Gives back what it is given."""
    return message


@server.tool()
def add(parts: list[int]) -> Sum:
    """A structured result."""
    return Sum(sum=sum(parts), parts=parts)


@server.tool()
def fail() -> str:
    """Fails."""
    raise ValueError("failed as asked")


@server.tool()
def image() -> Image:
    """A picture of one pixel, or what could be one."""
    return Image(data=b"\x89PNG\r\n\x1a\n" + bytes(range(64)), format="png")


@server.tool()
def big(size: int) -> str:
    """A large text."""
    return "0123456789abcdef" * (size // 16)


@server.tool()
async def slow(ctx: Context, steps: int, seconds: float) -> str:
    """Reports its progress."""
    for step in range(steps):
        await ctx.report_progress(step + 1, steps)
        await asyncio.sleep(seconds / steps)
    return f"{steps} steps"


@server.tool()
async def elicit(ctx: Context) -> str:
    """Asks the user for a name."""
    asked = ctx.elicit("Who are you?", Name)
    answer = await asked
    return f"{answer.action} {answer.data.name}"


@server.resource("tour://text")
def text() -> str:
    """A text."""
    return "the text of the resource é"


@server.resource("tour://item/{number}")
def item(number: str) -> str:
    """An item."""
    return f"item {number}"


@server.prompt()
def greet(who: str) -> str:
    """A greeting."""
    return f"Greet {who}."


if kind == "one":
    server.run(transport="streamable-http")
elif kind == "two":
    server.run(transport="streamable-http", host="0.0.0.0", port=port)
else:
    server.run(transport="http", host="0.0.0.0", port=port, show_banner=False, log_level="warning")
