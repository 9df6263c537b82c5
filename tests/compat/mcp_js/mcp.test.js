import assert from "node:assert/strict";
import test from "node:test";

import { forEach } from "./client.js";

for (const kind of ["newest", "older"]) {
  const using = forEach(kind);

  test(`${kind}: each assistant is a tool`, () =>
    using(null, async (client) => {
      const { tools } = await client.listTools();

      const echo = tools.find((tool) => tool.name === "echo");
      assert.equal(echo.inputSchema.type, "object");
      assert.deepEqual(echo.inputSchema.required, ["messages"]);
      assert.ok(echo.outputSchema.properties.messages);
    }));

  test(`${kind}: a call answers JSON that fits the schema`, () =>
    using(null, async (client) => {
      await client.listTools(); // Now the client checks results by the schemas.

      const result = await client.callTool({
        name: "echo",
        arguments: { messages: "hello" },
      });

      const { messages } = result.structuredContent;
      assert.deepEqual(messages.map((one) => one.content), ["hello", "echo: hello"]);
      assert.deepEqual(JSON.parse(result.content[0].text), result.structuredContent);
    }));

  test(`${kind}: a failure says what went wrong`, () =>
    using(null, async (client) => {
      await client.listTools();

      const result = await client.callTool({ name: "raises", arguments: {} });

      assert.equal(result.isError, true);
      assert.equal(result.content[0].text, "ValueError: boom happened");
    }));

  test(`${kind}: progress is reported`, () =>
    using(null, async (client) => {
      const seen = [];

      await client.callTool(
        { name: "slow", arguments: { delay: 0.02 } },
        ...(kind === "older" ? [undefined] : []),
        { onprogress: (one) => seen.push(one) },
      );

      assert.deepEqual(seen.map((one) => one.progress), [1, 2, 3, 4, 5]);
      assert.equal(seen[0].message, "s1");
    }));

  test(`${kind}: an interrupt asks the client's user`, () =>
    using("surely", async (client, asked) => {
      const result = await client.callTool({
        name: "human",
        arguments: { topic: "tea" },
      });

      assert.equal(result.structuredContent.answer, "surely");
      assert.equal(asked.length, 1);
      assert.deepEqual(JSON.parse(asked[0].message), {
        question: "approve?",
        topic: "tea",
      });
    }));

  test(`${kind}: a client that can't ask gets the interrupt, and answers it`, () =>
    using(null, async (client) => {
      await client.listTools();
      const first = await client.callTool({
        name: "human",
        arguments: { topic: "tea" },
      });

      const { thread_id, interrupts } = first.structuredContent;
      assert.equal(interrupts[0].value.question, "approve?");
      const second = await client.callTool({
        name: "human",
        arguments: { thread_id, resume: "no" },
      });

      assert.equal(second.structuredContent.answer, "no");
    }));

  test(`${kind}: a cancelled call cancels its run`, () =>
    using(null, async (client) => {
      const calling = new AbortController();
      const seen = [];
      const call = client.callTool(
        { name: "slow", arguments: { delay: 0.5 } },
        ...(kind === "older" ? [undefined] : []),
        {
          signal: calling.signal,
          onprogress: (one) => {
            seen.push(one);
            calling.abort();
          },
        },
      );

      await assert.rejects(call);
      assert.equal(seen.length, 1);
      await until(async () => (await busyThreads()) === 0);
    }));
}

test("newest: a change of the list is heard of", () =>
  forEach("newest")(null, async (client) => {
    const heard = [];
    client.setNotificationHandler("notifications/tools/list_changed", () =>
      heard.push(true),
    );
    const subscription = await client.listen({ toolsListChanged: true });

    const { assistant_id } = await post("/assistants", { graph_id: "echo", name: "new" });
    await until(() => heard.length === 1);
    const { tools } = await client.listTools({}, { cacheMode: "refresh" });

    assert.ok(tools.some((tool) => tool.name === "new"));
    await fetch(`${process.env.SPOOL_URL}/assistants/${assistant_id}`, {
      method: "DELETE",
    });
    await until(() => heard.length === 2);
    await subscription.close();
  }));

async function post(path, body) {
  const response = await fetch(process.env.SPOOL_URL + path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  return response.json();
}

async function busyThreads() {
  const made = { created_by: "mcp" };
  return (await post("/threads/search", { metadata: made, status: "busy" })).length;
}

async function until(condition) {
  while (!(await condition())) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
