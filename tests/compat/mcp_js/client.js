// The official MCP clients of the server under test: the one of 2026-07-28, and the one
// before it, which most programs still have.
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { Client as OlderClient } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport as OlderTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { ElicitRequestSchema } from "@modelcontextprotocol/sdk/types.js";

const url = new URL(`${process.env.SPOOL_URL}/mcp`);
const info = { name: "spool-tests", version: "1" };

// What the user of a client answers; null for a client that can't ask one.
function answering(answer, asked) {
  return (request) => {
    asked.push(request.params);
    return { action: "accept", content: { response: answer } };
  };
}

async function newest(answer, asked) {
  const capabilities = answer === null ? {} : { elicitation: { form: {} } };
  const versionNegotiation = { mode: { pin: "2026-07-28" } };
  const client = new Client(info, { capabilities, versionNegotiation });
  if (answer !== null) {
    client.setRequestHandler("elicitation/create", answering(answer, asked));
  }
  await client.connect(new StreamableHTTPClientTransport(url));
  return client;
}

async function older(answer, asked) {
  const capabilities = answer === null ? {} : { elicitation: {} };
  const client = new OlderClient(info, { capabilities });
  if (answer !== null) {
    client.setRequestHandler(ElicitRequestSchema, answering(answer, asked));
  }
  await client.connect(new OlderTransport(url));
  return client;
}

const kinds = { newest, older };

// A test of each client: `body` gets one, and what its user was asked.
export function forEach(kind) {
  return async (answer, body) => {
    const asked = [];
    const client = await kinds[kind](answer, asked);
    try {
      await body(client, asked);
    } finally {
      await client.close();
    }
  };
}
