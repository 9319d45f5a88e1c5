// The client under the conformance suite's test: `node conformance.mjs URL`, with the scenario in the environment.
// The unmodified TypeScript SDK, v1 for the versions with sessions, v2 for 2026-07-28. It does in every scenario what any
// client would: connect, authorize where asked, list the tools, call them.
import { inspect } from "node:util";

const url = new URL(process.argv[2]);
const version = process.env.MCP_CONFORMANCE_PROTOCOL_VERSION;
const scenario = process.env.MCP_CONFORMANCE_SCENARIO ?? "";
const context = JSON.parse(process.env.MCP_CONFORMANCE_CONTEXT ?? "{}");
const modern = version === "2026-07-28";
const identity = { name: "policyd-tests", version: "1.0.0" };

const sdk = modern
  ? await import("@modelcontextprotocol/client")
  : {
      ...(await import("@modelcontextprotocol/sdk/client/index.js")),
      ...(await import("@modelcontextprotocol/sdk/client/auth.js")),
      ...(await import("@modelcontextprotocol/sdk/client/auth-extensions.js")),
      ...(await import("@modelcontextprotocol/sdk/client/streamableHttp.js")),
      ...(await import("@modelcontextprotocol/sdk/types.js")),
    };

// A user who has a browser: the authorization's answer is read from where the server redirects to.
class Browser {
  redirectUrl = "http://localhost:3000/callback";
  clientMetadata = {
    client_name: identity.name,
    redirect_uris: [this.redirectUrl],
    application_type: "native",
    grant_types: ["authorization_code", "refresh_token"],
  };
  clientMetadataUrl = "https://conformance-test.local/client-metadata.json";
  #information = new Map();
  #tokens = new Map();
  #verifier;

  constructor() {
    const { client_id, client_secret } = context;
    if (client_id) this.#information.set("any", { client_id, client_secret, redirect_uris: [this.redirectUrl] });
  }
  clientInformation(about) {
    return this.#information.get(about?.issuer) ?? this.#information.get("any");
  }
  saveClientInformation(information, about) {
    this.#information.set(about?.issuer ?? "any", information);
  }
  tokens(about) {
    return this.#tokens.get(about?.issuer) ?? [...this.#tokens.values()].at(-1);
  }
  saveTokens(tokens, about) {
    this.#tokens.set(about?.issuer ?? "any", tokens);
  }
  saveCodeVerifier(verifier) {
    this.#verifier = verifier;
  }
  codeVerifier() {
    return this.#verifier;
  }
  async redirectToAuthorization(to) {
    const { headers } = await fetch(to, { redirect: "manual" });
    this.answer = new URL(headers.get("location")).searchParams;
  }
}

function provider() {
  const { client_id: clientId, client_secret: clientSecret, private_key_pem: privateKey } = context;
  if (scenario === "auth/client-credentials-jwt") {
    const algorithm = context.signing_algorithm ?? "ES256";
    return new sdk.PrivateKeyJwtProvider({ clientId, privateKey, algorithm });
  }
  if (scenario === "auth/client-credentials-basic") {
    return new sdk.ClientCredentialsProvider({ clientId, clientSecret });
  }
  return scenario.startsWith("auth/") ? new Browser() : undefined;
}

const authProvider = provider();
const capabilities = { elicitation: { applyDefaults: true, form: { applyDefaults: true } } };
const options = modern ? { capabilities, versionNegotiation: { mode: { pin: version } } } : { capabilities };
let client;
let transport;

async function connect() {
  client = new sdk.Client(identity, options);
  const accept = (request) => {
    const fields = Object.keys(request.params?.requestedSchema?.properties ?? {});
    const known = fields.filter((field) => field === "confirmed").map((field) => [field, true]);
    return { action: "accept", content: Object.fromEntries(known) };
  };
  client.setRequestHandler(modern ? "elicitation/create" : sdk.ElicitRequestSchema, accept);
  transport = new sdk.StreamableHTTPClientTransport(url, { authProvider });
  await client.connect(transport);
}

// Does `work`; when the SDK has sent the user away to authorize, brings the answer back and does it again.
async function authorized(work) {
  for (let times = 0; ; times++) {
    try {
      return await work();
    } catch (error) {
      const answer = authProvider?.answer;
      if (!(error instanceof sdk.UnauthorizedError) || !answer || times === 2) throw error;
      authProvider.answer = undefined;
      await transport.finishAuth(modern ? answer : answer.get("code"));
    }
  }
}

// An argument of the type that a schema wants.
function sample(schema = {}) {
  const values = { string: "text", number: 1.5, integer: 42, boolean: true, array: [], object: {} };
  return schema.default ?? schema.enum?.[0] ?? values[schema.type] ?? "text";
}

function calls(tools) {
  if (context.toolCalls) return context.toolCalls;
  const focal = tools.find((tool) => tool.name === "json_schema_2020_12_tool");
  if (focal) return [{ name: "json_schema_echo", arguments: { schema: focal.inputSchema } }];
  return tools.map(({ name, inputSchema }) => {
    const fields = Object.entries(inputSchema.properties ?? {});
    return { name, arguments: Object.fromEntries(fields.map(([field, schema]) => [field, sample(schema)])) };
  });
}

try {
  await authorized(connect);
  const { tools } = await authorized(() => client.listTools());
  for (const call of calls(tools)) {
    // A call that fails is the server's business; a session that ends is not.
    await authorized(() => client.callTool(call)).catch((error) => {
      if (typeof error.code !== "number") throw error;
      console.log(`${call.name}: ${error.message}`);
    });
  }
  await client.close();
  process.exit(0);
} catch (error) {
  console.log(inspect(error));
  process.exit(1);
}
