// What the official JavaScript client does with our agents, in each binding and version.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  BINDINGS,
  clientOf,
  collect,
  data,
  file,
  message,
  states,
  streamedText,
  text,
} from "./client.js";

const [SUBMITTED, WORKING, COMPLETED, CANCELED, INPUT_REQUIRED] = [1, 2, 3, 5, 6];

const texts = (messages) =>
  messages.map(({ parts }) => parts.map((part) => part.content.value).join(""));

for (const binding of BINDINGS) {
  describe(`${binding.binding} ${binding.version}`, () => {
    test("an answer is waited for", async () => {
      const echo = await clientOf("echo", binding);

      const task = await echo.sendMessage(message([text("hi")]));

      assert.equal(task.status.state, COMPLETED);
      assert.deepEqual(texts(task.artifacts), ["echo: hi"]);
      assert.deepEqual(texts(task.history), ["hi", "echo: hi"]);
    });

    test("an answer is streamed", async () => {
      const chat = await clientOf("chat", binding);

      const told = await collect(chat.sendMessageStream(message([text("hi")])));

      assert.deepEqual(streamedText(told), ["hello brave new world"]);
      assert.deepEqual(states(told), [SUBMITTED, WORKING, COMPLETED]);
      const id = told[0].value.id;
      const task = await chat.getTask({ tenant: "", id, historyLength: undefined });
      assert.deepEqual(texts(task.artifacts), ["hello brave new world"]);
    });

    test("a context goes on", async () => {
      const echo = await clientOf("echo", binding);

      const first = await echo.sendMessage(message([text("one")]));
      const more = { contextId: first.contextId };
      const second = await echo.sendMessage(message([text("two")], more));

      assert.equal(second.contextId, first.contextId);
      assert.notEqual(second.id, first.id);
      assert.deepEqual(texts(second.history), ["two", "echo: two"]);
    });

    test("an interrupt is answered", async () => {
      const confirming = await clientOf("confirming", binding);

      const asked = await confirming.sendMessage(message([text("please")]));
      assert.equal(asked.status.state, INPUT_REQUIRED);
      assert.deepEqual(texts([asked.status.message]), ["Are you sure?"]);
      const more = { taskId: asked.id };
      const told = await collect(
        confirming.sendMessageStream(message([text("yes")], more)),
      );

      assert.deepEqual(states(told), [SUBMITTED, WORKING, COMPLETED]);
      assert.deepEqual(streamedText(told), ["done: yes"]);
    });

    test("a task is cancelled", async () => {
      const slow = await clientOf("slow", binding);
      const told = [];

      for await (const { payload } of slow.sendMessageStream(
        message([data({ delay: 30 })]),
      )) {
        told.push(payload);
        if (payload.value.status?.state === WORKING) {
          const id = told[0].value.id;
          const task = await slow.cancelTask({ tenant: "", id, metadata: undefined });
          assert.equal(task.status.state, CANCELED);
        }
      }

      assert.deepEqual(states(told), [SUBMITTED, WORKING, CANCELED]);
    });

    test("a task is followed again", async () => {
      const slow = await clientOf("slow", binding);
      const configuration = {
        acceptedOutputModes: [],
        taskPushNotificationConfig: undefined,
        historyLength: undefined,
        returnImmediately: true,
      };

      const { id } = await slow.sendMessage(
        message([data({ delay: 0.3 })], {}, configuration),
      );
      const told = await collect(slow.resubscribeTask({ tenant: "", id }));

      assert.equal(told[0].$case, "task");
      assert.equal(states(told).at(-1), COMPLETED);
    });

    test("files go there and back", async () => {
      const looking = await clientOf("looking", binding);
      const sent = file(Buffer.from("%PDF"), "application/pdf", "a.pdf");

      const task = await looking.sendMessage(message([text("see"), sent]));

      const [said, report] = task.artifacts[0].parts;
      assert.equal(said.content.value, "see file:a.pdf:%PDF");
      assert.equal(report.filename, "report.txt");
      assert.equal(Buffer.from(report.content.value).toString(), "see file:a.pdf:%PDF");
    });

    test("push configurations are kept", async () => {
      const echo = await clientOf("echo", binding);
      const { id: taskId } = await echo.sendMessage(message([text("hi")]));
      const tenant = "";
      const url = "http://127.0.0.1:9/";
      await echo.createTaskPushNotificationConfig({
        tenant,
        taskId,
        id: "one",
        url,
        token: "secret",
        authentication: undefined,
      });

      const found = await echo.getTaskPushNotificationConfig({ tenant, taskId, id: "one" });
      assert.deepEqual([found.url, found.token], [url, "secret"]);
      const page = { pageSize: 0, pageToken: "" };
      const listed = await echo.listTaskPushNotificationConfig({ tenant, taskId, ...page });
      assert.equal(listed.configs.length, 1);
      await echo.deleteTaskPushNotificationConfig({ tenant, taskId, id: "one" });
      await assert.rejects(
        echo.getTaskPushNotificationConfig({ tenant, taskId, id: "one" }),
      );
    });
  });
}
