// A TypeScript SDK server that executes a tool of any name, and notes each execution.
//
//     node executes.mjs MODULES PORT NOTES
//
// Streamable HTTP at /mcp (stateless), HTTP+SSE at /sse, as the SDK's own examples set them up. Each execution appends
// the tool's name to the file NOTES.
import { appendFileSync } from "node:fs";

const [modules, port, notes] = process.argv.slice(2);
const sdk = (path) => import(`${modules}/@modelcontextprotocol/sdk/dist/esm/${path}`);
const { Server } = await sdk("server/index.js");
const { StreamableHTTPServerTransport } = await sdk("server/streamableHttp.js");
const { SSEServerTransport } = await sdk("server/sse.js");
const { CallToolRequestSchema } = await sdk("types.js");
const { default: express } = await import(`${modules}/express/index.js`);

function server() {
  const server = new Server({ name: "executes", version: "1" }, { capabilities: { tools: {} } });
  server.setRequestHandler(CallToolRequestSchema, async ({ params }) => {
    appendFileSync(notes, `${params.name.replaceAll("\n", " ")}\n`);
    return { content: [{ type: "text", text: "executed" }] };
  });
  return server;
}

const app = express();
app.post("/mcp", express.json(), async (request, response) => {
  const transport = new StreamableHTTPServerTransport({ sessionIdGenerator: undefined });
  await server().connect(transport);
  await transport.handleRequest(request, response, request.body);
});

const transports = new Map();
app.get("/sse", async (request, response) => {
  const transport = new SSEServerTransport("/messages", response);
  transports.set(transport.sessionId, transport);
  await server().connect(transport);
});
app.post("/messages", async (request, response) => {
  await transports.get(request.query.sessionId)?.handlePostMessage(request, response);
});

app.listen(Number(port), "0.0.0.0");
