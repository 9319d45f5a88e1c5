// Says what `JSON.parse` reads in messages: each comes as a length of four bytes, big-endian, and the bytes; each answer
// goes as one. Its form stands in tests/src/readers.rs.

const hex = (text) => Buffer.from(text, "utf8").toString("hex");

function canonical(value) {
  if (value === null) return "n";
  if (value === true) return "t";
  if (value === false) return "f";
  if (typeof value === "number") {
    const bytes = Buffer.alloc(8);
    bytes.writeDoubleBE(value);
    return `d${bytes.toString("hex")}`;
  }
  if (typeof value === "string") return `s${hex(value)}`;
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  return `{${Object.keys(value).map((key) => `${hex(key)}:${canonical(value[key])}`).sort().join(",")}}`;
}

function read(message) {
  try {
    // As servers do: decoded without complaint, then parsed.
    const value = JSON.parse(message.toString("utf8"));
    const call = value.method === "tools/call";
    const parts = [[value, "method"], [value, "id"]];
    if (call) parts.push([value.params, "name"], [value.params, "arguments"]);
    return parts.map(([of, key]) => (Object.hasOwn(of, key) ? canonical(of[key]) : "-")).join("|");
  } catch (error) {
    return `error: ${error}`;
  }
}

let held = Buffer.alloc(0);
process.stdin.on("data", (bytes) => {
  held = Buffer.concat([held, bytes]);
  const answers = [];
  while (held.length >= 4 && held.length >= 4 + held.readUInt32BE()) {
    const end = 4 + held.readUInt32BE();
    const answer = Buffer.from(read(held.subarray(4, end)));
    const length = Buffer.alloc(4);
    length.writeUInt32BE(answer.length);
    answers.push(length, answer);
    held = held.subarray(end);
  }
  process.stdout.write(Buffer.concat(answers));
});
