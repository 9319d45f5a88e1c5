// One client of the matrix: `node tour.mjs v1|v2 URL STEPS`, the TypeScript SDK 1.x or 2.x. Steps and lines are those of
// ../python/tour.py; besides, {"end": true} ends the session at the server and shows what the next call gets.
import { createHash } from "node:crypto";

const [major, url, steps] = [process.argv[2], new URL(process.argv[3]), JSON.parse(process.argv[4])];
const two = major === "v2";
const sdk = two
  ? await import("@modelcontextprotocol/client")
  : {
      ...(await import("@modelcontextprotocol/sdk/client/index.js")),
      ...(await import("@modelcontextprotocol/sdk/client/sse.js")),
      ...(await import("@modelcontextprotocol/sdk/client/streamableHttp.js")),
      ...(await import("@modelcontextprotocol/sdk/types.js")),
    };
const seen = [];

function short(value) {
  if (typeof value === "string" && value.length > 500) {
    return `${value.length} characters ${createHash("sha256").update(value).digest("hex").slice(0, 16)}`;
  }
  if (Array.isArray(value)) return value.map(short);
  if (value === null || typeof value !== "object") return value;
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([key, inner]) => [key, short(inner)]));
}

function say(step, result) {
  console.log(JSON.stringify({ step, "on the way": short(seen.splice(0)), result: short(result) }));
}

async function told(step, request) {
  try {
    say(step, await request());
  } catch (error) {
    say(step, { error: { code: error.code, message: error.message, data: error.data } });
  }
}

const capabilities = { sampling: {}, elicitation: { form: {}, url: {} }, roots: {} };
const options = two ? { capabilities, versionNegotiation: { mode: "auto" } } : { capabilities };
const client = new sdk.Client({ name: "policyd-tests", version: "1.0.0" }, options);
const handle = (method, schema, answer) =>
  client.setRequestHandler(two ? method : sdk[schema], (request) => {
    // Roots are asked for in the background, at any time.
    if (request.method !== "roots/list") seen.push(request.method, request.params ?? {});
    return answer(request.params);
  });
handle("sampling/createMessage", "CreateMessageRequestSchema", () => ({
  role: "assistant",
  model: "none",
  content: { type: "text", text: "sampled" },
}));
handle("elicitation/create", "ElicitRequestSchema", ({ mode }) => ({
  action: "accept",
  content: mode === "url" ? undefined : { name: "Joe", username: "joe", email: "joe@site.example" },
}));
handle("roots/list", "ListRootsRequestSchema", () => ({ roots: [{ uri: "file:///work" }] }));

async function pages(what, list) {
  let cursor;
  for (let number = 1; number === 1 || cursor !== undefined; number++) {
    const step = `${what} ${number}`;
    try {
      const page = await list(cursor === undefined ? undefined : { cursor });
      say(step, page);
      cursor = page.nextCursor;
    } catch (error) {
      return say(step, { error: { code: error.code, message: error.message } });
    }
  }
}

function call(step) {
  // Whether the last progress is told before the result depends on which is read first.
  const onprogress = (progress) => progress.progress < progress.total && seen.push(progress);
  const limits = { onprogress, timeout: (step.within ?? 60) * 1000 };
  const params = { name: step.call, arguments: step.arguments ?? {} };
  return two ? client.callTool(params, limits) : client.callTool(params, undefined, limits);
}

try {
  const old = url.pathname.endsWith("/sse");
  const transport = old ? new sdk.SSEClientTransport(url) : new sdk.StreamableHTTPClientTransport(url);
  await client.connect(transport);
  say("server", [client.getServerVersion(), client.getServerCapabilities(), client.getInstructions()]);
  await pages("tools", (page) => client.listTools(page));
  await pages("resources", (page) => client.listResources(page));
  await pages("templates", (page) => client.listResourceTemplates(page));
  await pages("prompts", (page) => client.listPrompts(page));
  for (const step of steps) {
    if (step.call) await told(`call ${step.call}`, () => call(step));
    else if (step.read) await told(`read ${step.read}`, () => client.readResource({ uri: step.read }));
    else if (step.prompt) await told(`prompt ${step.prompt}`, () => client.getPrompt({ name: step.prompt, arguments: step.arguments }));
    else if (step.subscribe) await told("subscribe", () => client.subscribeResource({ uri: step.subscribe }));
    else if (step.level) await told("level", () => client.setLoggingLevel(step.level));
    else if (step.end && !old && transport.sessionId) {
      const session = transport.sessionId;
      await told("end of the session", () => transport.terminateSession());
      // What a client gets that comes back with a session that is no more, and how it starts over.
      const headers = { "mcp-session-id": session, accept: "application/json, text/event-stream" };
      const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/list" });
      const answer = await fetch(url, { method: "POST", body, headers: { ...headers, "content-type": "application/json" } });
      say("the session that is no more", [answer.status, await answer.text()]);
      const again = new sdk.Client({ name: "policyd-tests", version: "1.0.0" }, options);
      await again.connect(new sdk.StreamableHTTPClientTransport(url));
      say("started over", (await again.listTools()).tools.length);
      await again.close();
    }
  }
  await client.close();
  say("end", "closed");
  process.exit(0);
} catch (error) {
  say("end", `${error.name}: ${error.message}`);
  process.exit(1);
}
