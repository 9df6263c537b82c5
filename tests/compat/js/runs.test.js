// Runs as the official JavaScript client makes, watches, joins and stops them.
import assert from "node:assert/strict";
import { test } from "node:test";

import { client, collect, HI, newThread } from "./client.js";

const STEPS = ["step1", "step2", "step3", "step4", "step5"];

test("a thread is watched over several runs", async () => {
  const threadId = await newThread();
  await client.runs.wait(threadId, "echo", { input: HI });
  await client.runs.wait(threadId, "echo", { input: HI });

  const done = [];
  const controller = new AbortController();
  const stream = client.threads.joinStream(threadId, {
    lastEventId: "0",
    streamMode: ["lifecycle"],
    signal: controller.signal,
  });
  for await (const part of stream) {
    if (part.data?.status === "run_done") done.push(part.data.run_id);
    if (done.length === 2) break;
  }
  controller.abort();

  const runs = await client.runs.list(threadId);
  assert.deepEqual(done, runs.map((run) => run.run_id).reverse());
});

test("a stream is joined with the modes that are wanted", async () => {
  const threadId = await newThread();
  const run = await client.runs.create(threadId, "slow", {
    input: { delay: 0.05 },
    streamMode: ["values", "custom"],
    streamResumable: true,
  });

  const parts = await collect(
    client.runs.joinStream(threadId, run.run_id, {
      lastEventId: "-1",
      streamMode: ["custom"],
    }),
  );

  const steps = parts.filter((part) => part.event === "custom");
  assert.deepEqual(
    steps.map((part) => part.data.step),
    [1, 2, 3, 4, 5],
  );
  assert.ok(!parts.some((part) => part.event === "values"));
});

test("a stateless stream is joined without a thread", async () => {
  let created;
  const stream = client.runs.stream(null, "slow", {
    input: { delay: 0.1 },
    streamMode: "custom",
    streamResumable: true,
    onRunCreated: (run) => {
      created = run;
    },
  });
  const first = await stream.next();

  const parts = await collect(
    client.runs.joinStream(null, created.run_id, { lastEventId: "-1" }),
  );
  await collect(stream);

  assert.equal(first.value.event, "metadata");
  assert.equal(parts.filter((part) => part.event === "custom").length, 5);
});

test("a stateless batch is made in one call", async () => {
  const runs = await client.runs.createBatch([
    { assistantId: "echo", input: HI },
    { assistantId: "echo", input: HI },
  ]);

  assert.equal(runs.length, 2);
  assert.deepEqual(
    runs.map((run) => run.status),
    ["pending", "pending"],
  );
});

test("a run is cancelled and waited for", async () => {
  const threadId = await newThread();
  const run = await client.runs.create(threadId, "slow", {
    input: { delay: 5 },
  });

  await client.runs.cancel(threadId, run.run_id, true);

  const found = await client.runs.get(threadId, run.run_id);
  assert.equal(found.status, "interrupted");
});

test("a busy thread is interrupted for a newer run", async () => {
  const threadId = await newThread();
  const first = await client.runs.create(threadId, "slow", {
    input: { delay: 5 },
  });

  const values = await client.runs.wait(threadId, "slow", {
    input: { delay: 0 },
    multitaskStrategy: "interrupt",
  });

  const stopped = await client.runs.get(threadId, first.run_id);
  assert.equal(stopped.status, "interrupted");
  assert.deepEqual(values.log.slice(-5), STEPS);
});

test("what runs are given reaches their nodes", async () => {
  const told = await client.runs.wait(await newThread(), "reveal", {
    input: {},
    context: { user_name: "ann" },
    config: { tags: ["a"], recursion_limit: 9 },
    metadata: { purpose: "test" },
    durability: "exit",
    onDisconnect: "cancel",
    ifNotExists: "create",
  });

  assert.deepEqual(told.context, { user_name: "ann" });
  assert.deepEqual(told.config.tags, ["a"]);
  assert.equal(told.config.recursion_limit, 9);
  assert.equal(told.config.metadata.purpose, "test");
});
