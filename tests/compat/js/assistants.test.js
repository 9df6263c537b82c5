// Every call about assistants that the official JavaScript client has.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { client, isStatus, mark } from "./client.js";

test("no call is left out", () => {
  const called = readFileSync(new URL(import.meta.url), "utf8");
  const methods = Object.getOwnPropertyNames(
    Object.getPrototypeOf(client.assistants),
  );

  const missing = methods.filter((name) => !called.includes(`assistants.${name}(`));
  assert.deepEqual(missing, ["constructor"]);
});

test("an assistant is created, once", async () => {
  const assistantId = randomUUID();
  const metadata = mark();

  const created = await client.assistants.create({
    graphId: "echo",
    assistantId,
    config: { tags: ["t"] },
    context: { model: "m" },
    metadata,
    name: "Mine",
    description: "Echoes.",
  });
  const kept = await client.assistants.create({
    graphId: "human",
    assistantId,
    ifExists: "do_nothing",
  });

  assert.deepEqual(await client.assistants.get(assistantId), created);
  assert.deepEqual(kept, created);
  assert.deepEqual(created.config, {
    tags: ["t"],
    configurable: { model: "m" },
  });
  await assert.rejects(
    client.assistants.create({ graphId: "echo", assistantId }),
    isStatus(409),
  );
  await assert.rejects(client.assistants.create({ graphId: "no" }), isStatus(404));
});

test("an assistant has versions", async () => {
  const { assistant_id: id } = await client.assistants.create({
    graphId: "echo",
    name: "One",
    metadata: mark(),
  });

  const changed = await client.assistants.update(id, {
    graphId: "human",
    config: { tags: ["t"] },
    metadata: { more: true },
    name: "Two",
    description: "Second.",
  });
  const versions = await client.assistants.getVersions(id);
  const older = await client.assistants.getVersions(id, { limit: 1, offset: 1 });
  const back = await client.assistants.setLatest(id, 1);

  assert.equal(changed.version, 2);
  assert.deepEqual(
    versions.map((version) => version.name),
    ["Two", "One"],
  );
  assert.deepEqual(older, versions.slice(1));
  assert.equal(back.name, "One");
  await assert.rejects(client.assistants.setLatest(id, 9), isStatus(404));
});

test("assistants are searched and counted", async () => {
  const metadata = mark();
  for (const name of ["b", "a", "c"]) {
    await client.assistants.create({ graphId: "human", name, metadata });
  }

  const newest = await client.assistants.search({ metadata });
  const page = await client.assistants.search({
    metadata,
    limit: 2,
    includePagination: true,
  });
  const rest = await client.assistants.search({
    metadata,
    offset: Number(page.next),
    includePagination: true,
  });
  const byName = await client.assistants.search({
    metadata,
    graphId: "human",
    sortBy: "name",
    sortOrder: "asc",
    select: ["name"],
  });

  assert.deepEqual(
    newest.map((found) => found.name),
    ["c", "a", "b"],
  );
  assert.equal(page.assistants.length, 2);
  assert.equal(rest.assistants.length, 1);
  assert.equal(rest.next, null);
  assert.deepEqual(byName, [{ name: "a" }, { name: "b" }, { name: "c" }]);
  assert.equal(await client.assistants.count({ metadata }), 3);
  assert.equal(await client.assistants.count({ metadata, name: "B" }), 1);
});

test("a graph is drawn and described", async () => {
  const [nested] = await client.assistants.search({ graphId: "nested" });
  const id = nested.assistant_id;

  const flat = await client.assistants.getGraph("nested");
  const deep = await client.assistants.getGraph(id, { xray: true });
  const schemas = await client.assistants.getSchemas(id);
  const every = await client.assistants.getSubgraphs(id, { recurse: true });
  const one = await client.assistants.getSubgraphs(id, { namespace: "child" });

  assert.ok(deep.nodes.length > flat.nodes.length);
  assert.equal(schemas.graph_id, "nested");
  assert.deepEqual(Object.keys(every), ["child"]);
  assert.deepEqual(one, every);
});

test("an assistant is deleted, with its threads where told", async () => {
  for (const deleteThreads of [true, false]) {
    const { assistant_id: id } = await client.assistants.create({
      graphId: "echo",
    });
    const { thread_id: threadId } = await client.threads.create();
    await client.runs.wait(threadId, id, { input: { messages: [] } });

    await client.assistants.delete(id, { deleteThreads });

    const left = await client.threads.search({ ids: [threadId] });
    assert.equal(left.length, deleteThreads ? 0 : 1);
    await assert.rejects(client.assistants.get(id), isStatus(404));
  }
});
