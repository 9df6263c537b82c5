// The official JavaScript client of the server under test, and what its tests share.
import { randomUUID } from "node:crypto";

import { Client } from "@langchain/langgraph-sdk";

export const client = new Client({
  apiUrl: process.env.SPOOL_URL,
  // A request that fails fails the test: no second tries.
  callerOptions: { maxRetries: 0 },
});

export const HI = { messages: [{ role: "user", content: "hi" }] };

// Metadata that no other test uses.
export function mark() {
  return { mark: randomUUID() };
}

export async function newThread() {
  return (await client.threads.create()).thread_id;
}

export async function collect(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return parts;
}

export function isStatus(status) {
  return (error) => error.status === status;
}
