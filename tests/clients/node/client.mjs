// The unmodified TypeScript SDK driven by a list of steps: `node client.mjs URL STEPS`.
// URL, steps and printed lines are those of ../python/client.py.
import { createInterface } from "node:readline";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { SSEClientTransport } from "@modelcontextprotocol/sdk/client/sse.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import {
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ListRootsRequestSchema,
} from "@modelcontextprotocol/sdk/types.js";

const say = (result) => console.log(JSON.stringify(result));

// What the SDK throws for a JSON-RPC error; anything else ends the session.
async function attempt(what, request) {
  try {
    return { ...what, ...(await request()) };
  } catch (error) {
    if (typeof error.code !== "number") throw error;
    return { ...what, error: { code: error.code, message: error.message } };
  }
}

const call = (client, name, args) =>
  attempt({ call: name }, async () => {
    const result = await client.callTool({ name, arguments: args });
    return { isError: result.isError ?? false, text: (result.content ?? []).map((block) => block.text ?? "").join("") };
  });

const read = (client, uri) =>
  attempt({ read: uri }, async () => {
    const { contents } = await client.readResource({ uri });
    return { isError: false, text: contents.map((content) => content.text ?? "").join("") };
  });

const prompt = (client, name) =>
  attempt({ prompt: name }, async () => {
    const { messages } = await client.getPrompt({ name });
    return { isError: false, text: messages.map((message) => message.content.text ?? "").join("") };
  });

// A client that answers what servers ask, and tells of it.
function answering() {
  const capabilities = { sampling: {}, elicitation: {}, roots: {} };
  const client = new Client({ name: "policyd-tests", version: "1.0.0" }, { capabilities });
  const answers = [
    [CreateMessageRequestSchema, { role: "assistant", model: "none", content: { type: "text", text: "sampled" } }],
    [ElicitRequestSchema, { action: "accept", content: { name: "Joe" } }],
    [ListRootsRequestSchema, { roots: [{ uri: "file:///work" }] }],
  ];
  for (const [schema, answer] of answers) {
    client.setRequestHandler(schema, (request) => {
      say({ asked: request.method });
      return answer;
    });
  }
  return client;
}

function connection(url) {
  if (url.startsWith("stdio:")) {
    const [command, ...args] = JSON.parse(url.slice("stdio:".length));
    return new StdioClientTransport({ command, args });
  }
  const target = new URL(url);
  return target.pathname.endsWith("/sse") ? new SSEClientTransport(target) : new StreamableHTTPClientTransport(target);
}

async function run(url, steps) {
  const asked = steps.some((step) => "answer" in step);
  const client = asked ? answering() : new Client({ name: "policyd-tests", version: "1.0.0" });
  const transport = connection(url);
  await client.connect(transport);
  say({ ready: transport.protocolVersion ?? "2024-11-05" });
  const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  for (const step of steps) {
    if ("list" in step) {
      const { tools } = await client.listTools();
      say({ list: tools.map((tool) => tool.name) });
    } else if ("call" in step) {
      for (let n = 0; n < (step.times ?? 1); n++) say(await call(client, step.call, step.arguments ?? {}));
    } else if ("read" in step) {
      say(await read(client, step.read));
    } else if ("prompt" in step) {
      say(await prompt(client, step.prompt));
    } else if ("offers" in step) {
      const resources = (await client.listResources()).resources.map((resource) => resource.uri);
      const templates = (await client.listResourceTemplates()).resourceTemplates.map((one) => one.uriTemplate);
      const prompts = (await client.listPrompts()).prompts.map((prompt) => prompt.name);
      say({ offers: [...resources, ...templates, ...prompts] });
    } else if ("wait" in step) {
      say({ wait: true });
      await lines.next();
    } else if (!("answer" in step)) {
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
