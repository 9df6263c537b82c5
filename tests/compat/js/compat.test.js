// What an application does with the official JavaScript client.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";

import { client, collect, HI, isStatus, newThread } from "./client.js";

test("a thread is created, read, changed and deleted", async () => {
  const created = await client.threads.create({ metadata: { a: 1 } });
  const changed = await client.threads.update(created.thread_id, {
    metadata: { b: 2 },
  });
  await client.threads.delete(created.thread_id);

  assert.equal(created.status, "idle");
  assert.deepEqual(changed.metadata, { a: 1, b: 2 });
  await assert.rejects(client.threads.get(created.thread_id), isStatus(404));
});

test("a run is streamed token by token", async () => {
  const threadId = await newThread();
  let created;

  const parts = await collect(
    client.runs.stream(threadId, "chat", {
      input: HI,
      streamMode: ["messages-tuple", "values"],
      onRunCreated: (run) => {
        created = run;
      },
    }),
  );

  const tokens = parts.filter((part) => part.event === "messages");
  const text = tokens.map((part) => part.data[0].content).join("");
  assert.equal(parts[0].event, "metadata");
  assert.equal(created.run_id, parts[0].data.run_id);
  assert.equal(created.thread_id, threadId);
  assert.equal(text, "hello brave new world");
});

test("a run is waited for", async () => {
  const values = await client.runs.wait(await newThread(), "echo", { input: HI });

  assert.equal(values.messages.at(-1).content, "echo: hi");
});

test("a graph is interrupted and resumed", async () => {
  const threadId = await newThread();

  const stopped = await client.runs.wait(threadId, "human", {
    input: { topic: "t" },
  });
  const waiting = await client.threads.getState(threadId);
  const done = await client.runs.wait(threadId, "human", {
    command: { resume: "yes" },
  });

  assert.equal(stopped.__interrupt__[0].value.question, "approve?");
  assert.deepEqual(waiting.next, ["ask"]);
  assert.equal(waiting.tasks[0].interrupts[0].value.topic, "t");
  assert.deepEqual(done, { topic: "t", answer: "yes", log: ["ask", "fin"] });
});

test("state and history are read and forked", async () => {
  const threadId = await newThread();
  await client.runs.wait(threadId, "slow", { input: { delay: 0 } });

  const history = await client.threads.getHistory(threadId, { limit: 20 });
  await client.threads.updateState(threadId, {
    values: { log: ["mine"] },
    checkpoint: history[3].checkpoint,
  });
  const state = await client.threads.getState(threadId);

  assert.deepEqual(history[0].next, []);
  assert.deepEqual(history[6].next, ["__start__"]);
  assert.deepEqual(state.values.log, ["step1", "step2", "mine"]);
});

test("a background run is joined, and its stream where it was left", async () => {
  const threadId = await newThread();
  const run = await client.runs.create(threadId, "slow", {
    input: { delay: 0.05 },
    streamMode: ["values", "custom"],
    streamResumable: true,
  });
  const join = (lastEventId) =>
    collect(client.runs.joinStream(threadId, run.run_id, { lastEventId }));

  const whole = await join("0");
  const rest = await join(whole[3].id);
  const values = await client.runs.join(threadId, run.run_id);

  assert.deepEqual(
    whole.slice(0, 4).map((part) => part.event),
    ["metadata", "values", "custom", "values"],
  );
  assert.deepEqual(rest, whole.slice(4));
  assert.equal(values.log.at(-1), "step5");
});

test("a run is cancelled", async () => {
  const threadId = await newThread();
  const run = await client.runs.create(threadId, "slow", { input: { delay: 5 } });

  await client.runs.cancel(threadId, run.run_id, true);

  const found = await client.runs.get(threadId, run.run_id);
  assert.equal(found.status, "interrupted");
  await assert.rejects(client.runs.cancel(threadId, run.run_id), isStatus(404));
});

test("stateless runs leave no thread", async () => {
  const mark = { stateless: randomUUID() };

  const values = await client.runs.wait(null, "echo", { input: HI, metadata: mark });
  const parts = await collect(
    client.runs.stream(null, "echo", { input: HI, streamMode: "updates" }),
  );

  assert.equal(values.messages.at(-1).content, "echo: hi");
  assert.deepEqual(
    parts.slice(0, 2).map((part) => part.event),
    ["metadata", "updates"],
  );
  assert.deepEqual(await client.threads.search({ metadata: mark }), []);
});

test("subgraphs are streamed by their namespace", async () => {
  const parts = await collect(
    client.runs.stream(await newThread(), "nested", {
      input: { topic: "a" },
      streamMode: "updates",
      streamSubgraphs: true,
    }),
  );

  const names = parts.map((part) => part.event.split(":")[0]);
  assert.ok(names.includes("updates|child"), names.join(" "));
});

test("assistants are found, versioned and deleted", async () => {
  const [system] = await client.assistants.search({
    graphId: "echo",
    metadata: { created_by: "system" },
  });
  const mine = await client.assistants.create({ graphId: "echo", name: "Mine" });
  const ours = await client.assistants.update(mine.assistant_id, { name: "Ours" });
  await client.assistants.delete(mine.assistant_id);

  assert.equal(system.assistant_id, "046b5dc7-2108-582c-9c6c-31d556d138f0");
  assert.equal(ours.version, 2);
  await assert.rejects(client.assistants.get(mine.assistant_id), isStatus(404));
});

test("threads are found by their metadata", async () => {
  const mark = randomUUID();
  const first = await client.threads.create({ metadata: { mark } });
  const second = await client.threads.create({ metadata: { mark } });

  const found = await client.threads.search({ metadata: { mark } });

  assert.deepEqual(
    found.map((thread) => thread.thread_id),
    [second.thread_id, first.thread_id],
  );
});

test("what is wrong is refused, with its status", async () => {
  const threadId = await newThread();

  await assert.rejects(client.threads.get(randomUUID()), isStatus(404));
  await assert.rejects(client.threads.get("nonsense"), isStatus(422));
  await assert.rejects(
    client.runs.create(threadId, "no-such-graph", { input: HI }),
    isStatus(422),
  );
});

test("a failing graph is an error for every caller", async () => {
  const threadId = await newThread();
  const input = { x: "1" };

  const parts = await collect(client.runs.stream(threadId, "raises", { input }));

  const error = parts.find((part) => part.event === "error");
  assert.deepEqual(error.data, { error: "ValueError", message: "boom happened" });
  await assert.rejects(
    client.runs.wait(threadId, "raises", { input }),
    /boom happened/,
  );
});
