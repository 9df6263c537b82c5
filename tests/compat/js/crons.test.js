// Every call about crons that the official JavaScript client has.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";

import { client, isStatus, mark } from "./client.js";

const NEW_YEAR = "0 0 1 1 *";
const ECHO = "046b5dc7-2108-582c-9c6c-31d556d138f0";
const OPTIONS = {
  schedule: NEW_YEAR,
  input: { messages: [] },
  config: { tags: ["t"] },
  context: { user_name: "ann" },
  interruptBefore: ["answer"],
  interruptAfter: "*",
  multitaskStrategy: "reject",
  durability: "exit",
  enabled: false,
  timezone: "Europe/Berlin",
  streamMode: ["values"],
  streamSubgraphs: true,
  streamResumable: true,
  endTime: "2126-01-01T00:00:00Z",
};

test("a stateless cron is created", async () => {
  const metadata = mark();

  const cron = await client.crons.create("echo", {
    ...OPTIONS,
    metadata,
    onRunCompleted: "keep",
  });

  assert.equal(cron.assistant_id, ECHO);
  assert.equal(cron.thread_id, null);
  assert.equal(cron.on_run_completed, "keep");
  assert.equal(cron.timezone, "Europe/Berlin");
  assert.equal(cron.end_time, "2126-01-01T00:00:00.000000+00:00");
  assert.equal(cron.next_run_date, null);
  assert.deepEqual(cron.metadata, metadata);
  assert.deepEqual(cron.payload.context, OPTIONS.context);
  assert.equal(cron.payload.config.configurable.cron_id, cron.cron_id);
});

test("a cron of a thread is created", async () => {
  const { thread_id: threadId } = await client.threads.create();

  const cron = await client.crons.createForThread(threadId, "echo", OPTIONS);

  assert.equal(cron.thread_id, threadId);
  assert.equal(cron.on_run_completed, null);
  assert.equal(cron.payload.multitask_strategy, "reject");
});

test("any subset of a cron is updated", async () => {
  const cron = await client.crons.create("echo", OPTIONS);

  const moved = await client.crons.update(cron.cron_id, {
    schedule: "0 12 * * *",
    timezone: "Asia/Tokyo",
    enabled: true,
    metadata: { more: 1 },
    onRunCompleted: "keep",
  });
  const endless = await client.crons.update(cron.cron_id, { endTime: null });

  assert.match(moved.next_run_date, /T03:00:00\+00:00$/);
  assert.deepEqual(moved.metadata, { more: 1 });
  assert.equal(moved.on_run_completed, "keep");
  assert.deepEqual(moved.payload.config.tags, ["t"]);
  assert.equal(endless.end_time, null);
  await assert.rejects(client.crons.update(cron.cron_id, {}), isStatus(400));
});

test("crons are searched, counted and deleted", async () => {
  const metadata = mark();
  const { thread_id: threadId } = await client.threads.create();
  const payload = { schedule: NEW_YEAR, metadata };
  const first = await client.crons.create("echo", payload);
  const second = await client.crons.createForThread(threadId, "chat", payload);
  const ids = async (query) =>
    (await client.crons.search({ metadata, ...query })).map((c) => c.cron_id);

  assert.deepEqual(await ids({}), [second.cron_id, first.cron_id]);
  assert.deepEqual(await ids({ assistantId: ECHO }), [first.cron_id]);
  assert.deepEqual(await ids({ threadId }), [second.cron_id]);
  assert.deepEqual(await ids({ enabled: false }), []);
  assert.deepEqual(await ids({ limit: 1, offset: 1 }), [first.cron_id]);
  assert.deepEqual(await ids({ sortBy: "created_at", sortOrder: "asc" }), [
    first.cron_id,
    second.cron_id,
  ]);
  assert.deepEqual(
    await client.crons.search({ metadata, limit: 1, select: ["schedule"] }),
    [{ schedule: NEW_YEAR }],
  );
  assert.equal(await client.crons.count({ metadata }), 2);
  assert.equal(await client.crons.count({ metadata, threadId }), 1);
  assert.equal(await client.crons.count({ metadata, assistantId: ECHO }), 1);

  await client.crons.delete(first.cron_id);
  assert.equal(await client.crons.count({ metadata }), 1);
  await assert.rejects(client.crons.delete(first.cron_id), isStatus(404));
});

test("what is wrong with a cron has its status", async () => {
  const bad = { schedule: "0 25 * * *" };

  await assert.rejects(client.crons.create("echo", bad), isStatus(422));
  await assert.rejects(
    client.crons.createForThread(randomUUID(), "echo", OPTIONS),
    isStatus(404),
  );
});
