// `client.threads.stream()`, by both of its transports.
import assert from "node:assert/strict";
import test from "node:test";

import { client, collect, HI, newThread } from "./client.js";

const TRANSPORTS = ["sse", "websocket"];

async function open(t, assistantId, transport, threadId) {
  const options = { assistantId, transport, maxReconnectAttempts: 0 };
  const thread = threadId
    ? client.threads.stream(threadId, options)
    : client.threads.stream(options);
  t.after(() => thread.close());
  return thread;
}

function until(ready) {
  return new Promise((resolve, reject) => {
    const started = Date.now();
    (function look() {
      if (ready()) resolve();
      else if (Date.now() - started > 60_000) reject(new Error("not in time"));
      else setTimeout(look, 10);
    })();
  });
}

for (const transport of TRANSPORTS) {
  const named = (claim) => `${transport}: ${claim}`;

  test(named("tokens come one by one, and the output with them"), async (t) => {
    const thread = await open(t, "chat", transport);

    const reading = tokensOf(thread.messages);
    await thread.run.start({ input: HI });
    const tokens = await reading;
    const output = await thread.output;

    assert.equal(tokens.join(""), "hello brave new world");
    assert.ok(tokens.length > 1);
    assert.equal(output.messages.at(-1).text, "hello brave new world");
  });

  test(named("an interrupt is answered on the same stream"), async (t) => {
    const thread = await open(t, "human", transport);

    await thread.run.start({ input: { topic: "q" } });
    await until(() => thread.interrupts.length === 1 && thread.interrupted);
    const [asked] = thread.interrupts;
    const next = thread.subscribe({ channels: ["values", "lifecycle"] });
    await thread.input.respond({
      namespace: asked.namespace,
      interrupt_id: asked.interruptId,
      response: "yes",
    });
    await next;
    const state = await settled(thread.threadId);

    assert.deepEqual(asked.payload, { question: "approve?", topic: "q" });
    assert.equal(state.values.answer, "yes");
  });

  test(named("parallel interrupts are answered in one command"), async (t) => {
    const thread = await open(t, "par", transport);

    await thread.run.start({ input: {} });
    await until(() => thread.interrupts.length === 2 && thread.interrupted);
    const responses = thread.interrupts.map((one) => ({
      namespace: one.namespace,
      interrupt_id: one.interruptId,
      response: `to ${one.payload}`,
    }));
    await thread.input.respond({ responses });
    const state = await settled(thread.threadId);

    assert.deepEqual(state.values.log.toSorted(), ["a:to qa", "b:to qb"]);
  });

  test(named("an unknown interrupt is refused by its code"), async (t) => {
    const thread = await open(t, "human", transport);
    await thread.run.start({ input: { topic: "q" } });
    await until(() => thread.interrupts.length === 1 && thread.interrupted);

    const answer = { namespace: [], interrupt_id: "f".repeat(32), response: 1 };

    await assert.rejects(thread.input.respond(answer), { code: "no_such_interrupt" });
  });

  test(named("subgraphs are found, with values of their own"), async (t) => {
    const thread = await open(t, "nested", transport);

    const found = collect(thread.subgraphs);
    await thread.run.start({ input: { topic: "a" } });
    const output = await thread.output;

    assert.deepEqual(output.log.slice(-2), ["sub_a", "sub_b:n"]);
    assert.equal((await found).length, 1);
  });

  test(named("tool calls come with their result"), async (t) => {
    const thread = await open(t, "tools", transport);

    const calls = collect(thread.toolCalls);
    await thread.run.start({ input: HI });
    const [call] = await calls;

    assert.equal(call.name, "adder");
    assert.deepEqual(call.input, { a: 1, b: 2 });
    assert.equal(await call.output, "3");
  });

  test(named("messages that are streamed at once are told apart"), async (t) => {
    const thread = await open(t, "choir", transport);

    const reading = collect(thread.messages);
    await thread.run.start({ input: HI });
    const messages = await reading;
    const said = await Promise.all(messages.map((message) => message.text));

    assert.deepEqual(said.toSorted(), ["do do do do", "la la la la"]);
  });

  test(named("custom events come as the graph wrote them"), async (t) => {
    const thread = await open(t, "slow", transport);

    await thread.run.start({ input: { delay: 0.1 } });
    const events = await thread.subscribe({ channels: ["custom", "lifecycle"] });
    const steps = [];
    for await (const event of events) {
      if (event.method === "custom") steps.push(event.params.data.step);
      if (event.params.data.event === "completed") break;
    }

    assert.deepEqual(steps, [1, 2, 3, 4, 5]);
  });

  test(named("a run that is cancelled ends its streams"), async (t) => {
    const thread = await open(t, "slow", transport);

    const { run_id } = await thread.run.start({ input: { delay: 30 } });
    const events = await thread.subscribe({ channels: ["lifecycle"] });
    const names = [];
    for await (const event of events) {
      const name = event.params.data.event;
      names.push(name);
      if (name === "running") await client.runs.cancel(thread.threadId, run_id);
      if (name === "failed") break;
    }

    assert.deepEqual(names, ["running", "failed"]);
  });

  test(named("a run forks from a checkpoint"), async (t) => {
    const thread = await open(t, "human", transport);
    await thread.run.start({ input: { topic: "first" } });
    await until(() => thread.interrupts.length === 1 && thread.interrupted);
    const { checkpoints } = await thread.state.listCheckpoints({ namespace: [] });
    const start = checkpoints.at(-1);

    await thread.run.start({ input: { topic: "second" }, forkFrom: start.id });
    await until(() => thread.interrupts.some((one) => one.payload.topic === "second"));
    const { values } = await thread.state.get({ namespace: [] });

    assert.equal(values.topic, "second");
  });

  test(named("a second stream of the thread gets what was before it"), async (t) => {
    const first = await open(t, "chat", transport);
    await first.run.start({ input: HI });
    await first.output;

    const second = await open(t, "chat", transport, first.threadId);
    const events = await second.subscribe({ channels: ["messages", "lifecycle"] });
    const told = [];
    for await (const event of events) {
      told.push(event.params.data.event);
      if (event.params.data.event === "completed") break;
    }

    assert.equal(told[0], "running");
    assert.equal(told.filter((one) => one === "content-block-delta").length, 7);
  });

  test(named("a run waits for no other run's end to be accepted"), async (t) => {
    const thread = await open(t, "slow", transport);
    await thread.run.start({ input: { delay: 30 } });

    const strategy = { multitaskStrategy: "reject" };
    const refused = thread.run.start({ input: { delay: 0 }, ...strategy });
    await assert.rejects(refused, /409/);
    const next = await thread.run.start({
      input: { delay: 0 },
      multitaskStrategy: "interrupt",
    });
    const state = await settled(thread.threadId);

    assert.ok(next.run_id);
    assert.equal(state.values.log.length >= 5, true);
  });
}

test("what there is no word for in LangGraph is not supported", async (t) => {
  const thread = await open(t, "chat", "sse", await newThread());
  const message = { role: "user", content: "hi" };

  const injected = thread.input.inject({ namespace: [], message });

  await assert.rejects(injected, { code: "not_supported" });
});

async function tokensOf(messages) {
  const tokens = [];
  for await (const message of messages) {
    for await (const token of message.text) tokens.push(token);
  }
  return tokens;
}

async function settled(threadId) {
  for (;;) {
    const { status } = await client.threads.get(threadId);
    if (status !== "busy") return await client.threads.getState(threadId);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
