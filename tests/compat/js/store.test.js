// Every call about the store that the official JavaScript client has.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";

import { client, isStatus } from "./client.js";

// A namespace that no other test uses.
function newRoot() {
  return `compat ${randomUUID()}`;
}

function keysOf({ items }) {
  return items.map((item) => item.key);
}

test("an item is put, read and deleted", async () => {
  const root = newRoot();

  const put = await client.store.putItem([root, "ü %_"], "a.b/c", { n: [1] });
  const item = await client.store.getItem([root, "ü %_"], "a.b/c");
  await client.store.putItem([root, "ü %_"], "a.b/c", { n: 2 });
  const replaced = await client.store.getItem([root, "ü %_"], "a.b/c");
  await client.store.deleteItem([root, "ü %_"], "a.b/c");
  await client.store.deleteItem([root, "ü %_"], "a.b/c");
  const gone = await client.store.getItem([root, "ü %_"], "a.b/c");

  assert.equal(put, undefined);
  assert.deepEqual(item.namespace, [root, "ü %_"]);
  assert.equal(item.key, "a.b/c");
  assert.deepEqual(item.value, { n: [1] });
  assert.ok(Date.parse(item.createdAt) > 0);
  assert.deepEqual(replaced.value, { n: 2 });
  assert.equal(replaced.createdAt, item.createdAt);
  assert.ok(replaced.updatedAt > item.updatedAt);
  assert.equal(gone, null);
});

test("options of a put and a get are accepted", async () => {
  const root = newRoot();

  await client.store.putItem([root], "k", {}, { index: false, ttl: 60 });
  await client.store.putItem([root], "l", { t: "x" }, { index: ["t"] });
  await client.store.putItem([root], "m", {}, { index: null, ttl: null });
  const kept = await client.store.getItem([root], "k", { refreshTtl: false });
  const refreshed = await client.store.getItem([root], "k", {
    refreshTtl: true,
  });

  assert.equal(kept.key, "k");
  assert.deepEqual(refreshed, kept);
});

test("items are searched", async () => {
  const root = newRoot();
  for (let n = 0; n < 12; n += 1) {
    await client.store.putItem([root, `${n % 2}`], `${n}`, { n, big: n > 5 });
  }

  const whole = await client.store.searchItems([root]);
  const page = await client.store.searchItems([root], { limit: 3, offset: 10 });
  const filtered = await client.store.searchItems([root, "1"], {
    filter: { big: true, n: { $lt: 10 } },
    query: "anything",
    refreshTtl: false,
  });

  assert.deepEqual(
    keysOf(whole),
    [11, 10, 9, 8, 7, 6, 5, 4, 3, 2].map(String),
  );
  assert.deepEqual(keysOf(page), ["1", "0"]);
  assert.deepEqual(keysOf(filtered), ["9", "7"]);
  assert.equal(filtered.items[0].score, null);
  assert.ok(Date.parse(filtered.items[0].updatedAt) > 0);
});

test("namespaces are listed", async () => {
  const root = newRoot();
  for (const path of ["a.x", "a.y", "b.x", "b.x.z"]) {
    await client.store.putItem([root, ...path.split(".")], "k", {});
  }

  const whole = await client.store.listNamespaces({ prefix: [root] });
  const matched = await client.store.listNamespaces({
    prefix: [root, "*", "x"],
    suffix: ["x"],
  });
  const cut = await client.store.listNamespaces({ prefix: [root], maxDepth: 2 });
  const page = await client.store.listNamespaces({
    prefix: [root],
    limit: 1,
    offset: 1,
  });

  assert.deepEqual(whole.namespaces, [
    [root, "a", "x"],
    [root, "a", "y"],
    [root, "b", "x"],
    [root, "b", "x", "z"],
  ]);
  assert.deepEqual(matched.namespaces, [
    [root, "a", "x"],
    [root, "b", "x"],
  ]);
  assert.deepEqual(cut.namespaces, [
    [root, "a"],
    [root, "b"],
  ]);
  assert.deepEqual(page.namespaces, [[root, "a", "y"]]);
});

test("what is wrong is refused", async () => {
  const root = newRoot();
  const refusals = [
    [400, client.store.putItem([], "k", {})],
    [400, client.store.putItem(["langgraph"], "k", {})],
    [422, client.store.putItem([root, ""], "k", {})],
    [422, client.store.putItem([root], "k", [])],
    [422, client.store.putItem([root], "k", {}, { ttl: -1 })],
    [422, client.store.putItem([root], "k".repeat(10_000), {})],
    [400, client.store.searchItems([root], { filter: { n: { $in: [1] } } })],
    [422, client.store.searchItems([root], { limit: 0 })],
    [422, client.store.listNamespaces({ maxDepth: 0 })],
  ];

  await Promise.all(
    refusals.map(([status, refusal]) =>
      assert.rejects(refusal, isStatus(status)),
    ),
  );
});
