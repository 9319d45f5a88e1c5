"""Says what Python's `json` reads in messages: each comes as a length of four bytes, big-endian, and the bytes; each answer
goes as one. Its form stands in tests/src/readers.rs."""

import json
import struct
import sys


def canonical(value):
    if value is None:
        return "n"
    if value is True:
        return "t"
    if value is False:
        return "f"
    if isinstance(value, int):
        return f"i{value}"
    if isinstance(value, float):
        return "d" + struct.pack(">d", value).hex()
    if isinstance(value, str):
        return "s" + value.encode().hex()
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    return "{" + ",".join(sorted(f"{key.encode().hex()}:{canonical(member)}" for key, member in value.items())) + "}"


def read(message):
    try:
        value = json.loads(message)
        call = value.get("method") == "tools/call"
        params = value.get("params") if call else {}
        parts = [(value, "method"), (value, "id"), (params, "name"), (params, "arguments")]
        return "|".join(canonical(of[key]) if key in of else "-" for of, key in parts if call or of is value)
    except Exception as error:
        return f"error: {error}"


while head := sys.stdin.buffer.read(4):
    answer = read(sys.stdin.buffer.read(int.from_bytes(head, "big"))).encode()
    sys.stdout.buffer.write(len(answer).to_bytes(4, "big") + answer)
    sys.stdout.buffer.flush()
