// Clients of agents, for each binding and version that a card names.
import {
  ClientFactory,
  DefaultAgentCardResolver,
  JsonRpcTransportFactory,
  RestTransportFactory,
} from "@a2a-js/sdk/client";

const URL = process.env.SPOOL_URL;
const LEGACY = { legacyCompat: { enabled: true } };

export const BINDINGS = [
  { binding: "JSONRPC", version: "1.0" },
  { binding: "HTTP+JSON", version: "1.0" },
  { binding: "JSONRPC", version: "0.3" },
];

/** A client of one graph's assistant that speaks this binding and version. */
export async function clientOf(graph, { binding, version }) {
  const resolver = new DefaultAgentCardResolver(LEGACY);
  const card = await resolver.resolve(URL, `/a2a/${graph}/.well-known/agent-card.json`);
  card.supportedInterfaces = card.supportedInterfaces.filter(
    (one) => one.protocolBinding === binding && one.protocolVersion === version,
  );
  const factory = new ClientFactory({
    transports: [new JsonRpcTransportFactory(LEGACY), new RestTransportFactory()],
  });
  return factory.createFromAgentCard(card);
}

export function text(value) {
  return { content: { $case: "text", value }, metadata: undefined, filename: "", mediaType: "" };
}

export function data(value) {
  return { content: { $case: "data", value }, metadata: undefined, filename: "", mediaType: "" };
}

export function file(value, mediaType, filename) {
  return { content: { $case: "raw", value }, metadata: undefined, filename, mediaType };
}

/** What `sendMessage` takes; `more` are fields of the message. */
export function message(parts, more = {}, configuration = undefined) {
  return {
    tenant: "",
    message: {
      messageId: crypto.randomUUID(),
      role: 1,
      parts,
      contextId: "",
      taskId: "",
      metadata: undefined,
      extensions: [],
      referenceTaskIds: [],
      ...more,
    },
    configuration,
    metadata: undefined,
  };
}

export async function collect(stream) {
  const found = [];
  for await (const event of stream) found.push(event.payload);
  return found;
}

/** The text of the artifacts that a stream tells of, put together as it says. */
export function streamedText(payloads) {
  const artifacts = new Map();
  for (const { $case, value } of payloads) {
    if ($case !== "artifactUpdate") continue;
    const { artifactId, parts } = value.artifact;
    const before = value.append ? (artifacts.get(artifactId) ?? "") : "";
    artifacts.set(artifactId, before + parts.map((part) => part.content.value).join(""));
  }
  return [...artifacts.values()];
}

export function states(payloads) {
  return payloads
    .filter(({ $case }) => $case !== "artifactUpdate")
    .map(({ value }) => value.status.state);
}
