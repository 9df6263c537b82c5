// Every call about threads that the official JavaScript client has.
// Missing here: `joinStream`, which is in runs.test.js, and `stream`, which is another
// protocol. `patchState` is refused, as the official server does.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { client, isStatus, mark } from "./client.js";

async function waiting(metadata = mark()) {
  const { thread_id: id } = await client.threads.create({ metadata });
  await client.runs.wait(id, "human", { input: { topic: "t" } });
  return id;
}

test("no call is left out", () => {
  const called = readFileSync(new URL(import.meta.url), "utf8");
  const methods = Object.getOwnPropertyNames(
    Object.getPrototypeOf(client.threads),
  );

  const missing = methods.filter((name) => !called.includes(`threads.${name}(`));
  assert.deepEqual(missing, ["constructor", "joinStream", "stream"]);
});

test("a thread is created, once", async () => {
  const threadId = randomUUID();

  const created = await client.threads.create({
    threadId,
    metadata: { n: 1 },
    graphId: "echo",
    ifExists: "raise",
  });
  const kept = await client.threads.create({ threadId, ifExists: "do_nothing" });

  assert.deepEqual(await client.threads.get(threadId), created);
  assert.deepEqual(kept, created);
  assert.deepEqual(created.metadata, { n: 1, graph_id: "echo" });
  await assert.rejects(client.threads.create({ threadId }), isStatus(409));
});

test("a thread has a time to live", async () => {
  const { thread_id: id } = await client.threads.create({ ttl: 5 });
  const first = await client.threads.get(id, { include: ["ttl"] });
  await client.threads.update(id, {
    ttl: { ttl: 7, strategy: "keep_latest" },
  });
  const second = await client.threads.get(id, { include: ["ttl"] });

  assert.equal(first.ttl.ttl_minutes, 5);
  assert.equal(first.ttl.strategy, "delete");
  assert.equal(second.ttl.ttl_minutes, 7);
  assert.equal(second.ttl.strategy, "keep_latest");
});

test("a thread is made with a state", async () => {
  const thread = await client.threads.create({
    graphId: "human",
    supersteps: [
      { updates: [{ values: { topic: "t" }, asNode: "__start__" }] },
      { updates: [{ command: { update: { answer: "a" } }, asNode: "ask" }] },
    ],
  });

  const state = await client.threads.getState(thread.thread_id);
  assert.deepEqual(state.values, { topic: "t", answer: "a", log: [] });
});

test("a thread is updated and deleted", async () => {
  const { thread_id: id } = await client.threads.create({ metadata: { a: 1 } });

  const changed = await client.threads.update(id, { metadata: { b: null } });
  const nothing = await client.threads.update(id, {
    metadata: { c: 3 },
    returnMinimal: true,
  });
  const read = await client.threads.get(id);
  await client.threads.delete(id);

  assert.deepEqual(changed.metadata, { a: 1, b: null });
  assert.equal(nothing, undefined);
  assert.equal(read.metadata.c, 3);
  await assert.rejects(client.threads.delete(id), isStatus(404));
});

test("threads are searched and counted", async () => {
  const metadata = mark();
  const asked = await waiting(metadata);
  const { thread_id: idle } = await client.threads.create({ metadata });

  async function search(query) {
    const found = await client.threads.search({ metadata, ...query });
    return found.map((thread) => thread.thread_id);
  }

  assert.deepEqual(await search(), [idle, asked]);
  assert.deepEqual(await search({ limit: 1, offset: 1 }), [asked]);
  assert.deepEqual(await search({ status: "interrupted" }), [asked]);
  assert.deepEqual(await search({ values: { topic: "t" } }), [asked]);
  assert.deepEqual(await search({ ids: [idle] }), [idle]);
  assert.deepEqual(await search({ sortBy: "updated_at", sortOrder: "asc" }), [
    asked,
    idle,
  ]);
  assert.deepEqual(
    await client.threads.search({
      ids: [asked],
      select: ["status"],
      extract: { topic: "values.topic" },
    }),
    [{ status: "interrupted", extracted: { topic: "t" } }],
  );
  assert.equal(await client.threads.count({ metadata }), 2);
  assert.equal(await client.threads.count({ metadata, status: "idle" }), 1);
  await assert.rejects(search({ ids: ["nonsense"] }), isStatus(400));
});

test("threads are copied and pruned", async () => {
  const source = await waiting();

  const { thread_id: copy } = await client.threads.copy(source);
  await client.runs.wait(copy, "human", { command: { resume: "yes" } });
  const kept = await client.threads.prune([source], { strategy: "keep_latest" });
  const history = await client.threads.getHistory(source);
  const gone = await client.threads.prune([source, copy]);

  assert.deepEqual(kept, { pruned_count: 1 });
  assert.equal(history.length, 1);
  assert.deepEqual(gone, { pruned_count: 2 });
  await assert.rejects(client.threads.copy(source), isStatus(409));
});

test("state is read, updated and forked", async () => {
  const id = await waiting();
  const before = await client.threads.getState(id);

  await client.threads.updateState(id, { values: { answer: "a" }, asNode: "ask" });
  const after = await client.threads.getState(id, undefined, {
    select: ["values.answer", "next"],
  });
  await client.threads.updateState(id, {
    values: { topic: "fork" },
    asNode: "__start__",
    checkpoint: before.checkpoint,
  });
  const forked = await client.threads.getState(id, null, { subgraphs: true });
  const byId = await client.threads.getState(
    id,
    before.checkpoint.checkpoint_id,
    { subgraphs: false },
  );
  const byCheckpoint = await client.threads.getState(id, before.checkpoint);

  assert.deepEqual(after, { values: { answer: "a" }, next: ["fin"] });
  assert.equal(forked.values.topic, "fork");
  assert.deepEqual(byId.values, before.values);
  assert.deepEqual(byCheckpoint, byId);
  await assert.rejects(client.threads.patchState(id, { a: 1 }), isStatus(405));
});

test("history is read in every way", async () => {
  const { thread_id: id } = await client.threads.create();
  await client.runs.wait(id, "slow", { input: { delay: 0 } });

  const history = await client.threads.getHistory(id);
  const before = history[2];
  const flat = await client.threads.getHistory(id, {
    limit: 2,
    before: before.checkpoint,
  });
  const nested = await client.threads.getHistory(id, {
    limit: 2,
    before: { configurable: before.checkpoint },
  });
  const byStep = await client.threads.getHistory(id, { metadata: { step: 2 } });
  const selected = await client.threads.getHistory(id, {
    limit: 1,
    select: ["next"],
  });
  const root = await client.threads.getHistory(id, {
    checkpoint: { checkpoint_ns: "" },
  });

  assert.deepEqual(flat, history.slice(3, 5));
  assert.deepEqual(nested, flat);
  assert.equal(byStep.length, 1);
  assert.deepEqual(selected, [{ next: [] }]);
  assert.deepEqual(root, history);
});
