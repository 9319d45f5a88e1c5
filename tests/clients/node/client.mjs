// The unmodified TypeScript SDK driven by a list of steps: `node client.mjs URL STEPS`.
// Steps and printed lines are those of ../python/client.py.
import { createInterface } from "node:readline";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const say = (result) => console.log(JSON.stringify(result));

async function call(client, name, args) {
  try {
    const result = await client.callTool({ name, arguments: args });
    const text = (result.content ?? []).map((block) => block.text ?? "").join("");
    return { call: name, isError: result.isError ?? false, text };
  } catch (error) {
    if (typeof error.code !== "number") throw error;
    return { call: name, error: { code: error.code, message: error.message } };
  }
}

async function run(url, steps) {
  const client = new Client({ name: "policyd-tests", version: "1.0.0" });
  const transport = new StreamableHTTPClientTransport(new URL(url));
  await client.connect(transport);
  say({ ready: transport.protocolVersion });
  const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  for (const step of steps) {
    if ("list" in step) {
      const { tools } = await client.listTools();
      say({ list: tools.map((tool) => tool.name) });
    } else if ("call" in step) {
      for (let n = 0; n < (step.times ?? 1); n++) say(await call(client, step.call, step.arguments ?? {}));
    } else if ("wait" in step) {
      say({ wait: true });
      await lines.next();
    } else {
      throw new Error(`unknown step ${JSON.stringify(step)}`);
    }
  }
  await client.close();
}

try {
  await run(process.argv[2], JSON.parse(process.argv[3]));
  process.exit(0);
} catch (error) {
  say({ fatal: `${error.name}: ${error.message}${error.cause ? ` (${error.cause.code ?? error.cause.message})` : ""}` });
  process.exit(1);
}
