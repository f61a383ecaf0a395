// An app with the official TypeScript SDK whose functions configure the rules of flow control.
//
// Function `<name>` starts on event `flow/<name>`; `../cases.md` says what each configures. A step named `hold`
// takes until the gate is open that the event names, if it names one: `POST /gates/<name>` opens it for good,
// `POST /gates` opens all for which somebody waits.
//
// The packages are those of the folder in which it is started: `typescript_v3` has version 3 of the SDK.
//
// Environment: PORT; STEP_LOG, a file that gets one JSON line per step execution and per call request; VARIANT,
// `next` for another deployment, `invalid` for one with a function that no server accepts; and what the SDK reads.

import fs from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(`${process.cwd()}/`);
const express = require("express");
const { Inngest, NonRetriableError, referenceFunction } = require("inngest");
const { serve: serveFunctions } = require("inngest/express");

const IS_V3 = require("./package.json").dependencies.inngest.startsWith("~3.");
const APP_ID = IS_V3 ? "flow-ts3" : "flow-ts";
const SERVE_PATH = "/api/inngest";
const PORT = Number(process.env.PORT ?? 3000);
const VARIANT = process.env.VARIANT ?? "";

const client = new Inngest({ id: APP_ID });
const functions = [];
const gates = new Map();
const logFile = process.env.STEP_LOG ? fs.openSync(process.env.STEP_LOG, "a") : null;

/** Append to the step log, in one write. */
function appendLine(line) {
  if (logFile === null) return;
  fs.writeSync(logFile, `${JSON.stringify({ ...line, pid: process.pid, at_ms: Date.now() })}\n`);
}

/** The gate of this name, closed until somebody opens it. */
function gate(name) {
  if (!gates.has(name)) {
    const made = { isOpen: false };
    made.opened = new Promise((resolve) => {
      made.open = () => {
        made.isOpen = true;
        resolve();
      };
    });
    gates.set(name, made);
  }
  return gates.get(name);
}

/** Serve a handler as function `<name>`. */
function serve(name, handler, { event = `flow/${name}`, ...options } = {}) {
  const triggers = [{ event }];
  const fn = IS_V3
    ? client.createFunction({ id: name, ...options }, triggers, handler)
    : client.createFunction({ id: name, triggers, ...options }, handler);
  functions.push(fn);
}

/** A step that records its execution and returns the event's number; `hold` waits for the gate. */
function run(ctx, step) {
  const { data } = ctx.event;
  return ctx.step.run(step, async () => {
    appendLine({ run_id: ctx.runId, step, attempt: ctx.attempt, n: data.n ?? null });
    if (step === "hold" && data.gate !== undefined) await gate(String(data.gate)).opened;
    return data.n ?? null;
  });
}

const work = (ctx) => run(ctx, "hold");

async function twice(ctx) {
  await run(ctx, "hold");
  return await run(ctx, "after");
}

/** Two steps with an hour between them. */
async function rest(ctx) {
  await run(ctx, "hold");
  await ctx.step.sleep("an-hour", "1h");
  return await run(ctx, "after");
}

async function collect(ctx) {
  const all = await ctx.step.run("collect", () => ctx.events.map((event) => event.data.n));
  return { first: ctx.event.data.n, all };
}

/** Three steps that say when they begin and end. */
function parallel(ctx) {
  const hold = (number) =>
    ctx.step.run(`hold-${number}`, async () => {
      appendLine({ run_id: ctx.runId, step: "hold", n: number });
      await new Promise((resolve) => setTimeout(resolve, 50));
      appendLine({ run_id: ctx.runId, step: "hold-end", n: number });
      return number;
    });
  return Promise.all([hold(1), hold(2), hold(3)]);
}

async function failUntilFixed(ctx) {
  if (!gate("fixed").isOpen) throw new NonRetriableError("not fixed yet");
  return await run(ctx, "hold");
}

/** What a parent sees of a function that it invokes. */
async function invoke(ctx) {
  const { call, data } = ctx.event.data;
  try {
    return { returned: await ctx.step.invoke("call", { function: referenceFunction({ functionId: call }), data }) };
  } catch (error) {
    return { name: error.name, message: error.message };
  }
}

async function noteCancelled(ctx) {
  appendLine({ cancelled_run_id: ctx.event.data.run_id, function: ctx.event.data.function_id });
}

// Concurrency.

serve("number", work, { concurrency: 2 });
serve("keyed", work, { concurrency: { limit: 1, key: "event.data.key" } });
serve("two", work, { concurrency: [{ limit: 2 }, { limit: 1, key: "event.data.key" }] });
const shared = { key: "event.data.key" };
serve("env-small", work, { concurrency: { limit: 1, scope: "env", ...shared } });
serve("env-large", work, { concurrency: { limit: 2, scope: "env", ...shared } });
serve("account-small", work, { concurrency: { limit: 1, scope: "account", ...shared } });
serve("account-large", work, { concurrency: { limit: 2, scope: "account", ...shared } });
serve("resting", rest, { concurrency: 1 });
// A newer spelling, which this SDK sends as it is.
serve("whole", rest, { concurrency: { fn: { limit: 1, key: "event.data.key" }, step: 5 } });
serve("prioritized", work, { concurrency: 1, priority: { run: "event.data.urgent ? 120 : 0" } });

// Rates.

serve("throttled", work, { throttle: { limit: 1, period: "1m", burst: 2, key: "event.data.key" } });
serve("rated", work, { rateLimit: { limit: 1, period: "1m", key: "event.data.key" } });
serve("idempotent", work, { idempotency: "event.data.key" });

// Windows.

serve("debounced", work, { debounce: { period: "10s", timeout: "25s", key: "event.data.key" } });
serve("batched", collect, {
  batchEvents: { maxSize: 3, timeout: "10s", key: "event.data.key", if: "event.data.alone != true" },
});

// One at a time, and not for ever.

serve("singleton-skip", rest, { singleton: { mode: "skip", key: "event.data.key" } });
serve("singleton-cancel", rest, { singleton: { mode: "cancel", key: "event.data.key" } });
serve("start-timeout", work, {
  throttle: { limit: 1, period: "1h", key: "event.data.key" },
  timeouts: { start: "10m" },
});
serve("finish-timeout", rest, { timeouts: { finish: "10m" } });
serve("cancellable", rest, {
  cancelOn: [
    {
      event: "flow/cancel",
      if: "event.data.key == async.data.key && async.data.amount > 10",
      timeout: "30m",
    },
  ],
});
serve("note-cancelled", noteCancelled, { event: "inngest/function.cancelled" });

// Several rules at once.

serve("many-rules", rest, {
  rateLimit: { limit: 1, period: "1m", key: "event.data.rate" },
  debounce: { period: "10s", key: "event.data.window" },
  singleton: { mode: "skip", key: "event.data.single" },
  throttle: { limit: 1, period: "2h", key: "event.data.throttle" },
  concurrency: { limit: 1, key: "event.data.throttle" },
  priority: { run: "event.data.n" },
});
serve("once-settled", work, { debounce: { period: "10s", key: "event.data.key" }, idempotency: "event.data.key" });
serve("parallel", parallel, { concurrency: 1 });
const family = { concurrency: { limit: 1, scope: "env", key: "'family'" } };
serve("parent", invoke, family);
serve("child", work, family);

// What the next deployment changes.

const isNext = VARIANT === "next";
serve("slow", work, isNext ? {} : { throttle: { limit: 1, period: "1h" } });
serve("wide", work, { concurrency: isNext ? 2 : 1 });
serve("rekeyed", work, { concurrency: { limit: 1, key: isNext ? "event.data.key2" : "event.data.key" } });
serve("retimed", rest, { timeouts: { finish: isNext ? "2h" : "10m" } });
if (!isNext) serve("removed", rest, { throttle: { limit: 1, period: "1h" } });

// Without any rule.

serve("plain", work);
serve("twice", twice);
serve("rest", rest);
serve("broken", failUntilFixed);
serve("invoker", invoke);

if (VARIANT === "invalid") {
  serve("impossible", work, { batchEvents: { maxSize: 2, timeout: "1s" }, debounce: { period: "1s" } });
}

const app = express();
app.use(express.json({ limit: "16mb" }));
app.post("/gates", (_request, response) => {
  for (const one of gates.values()) one.open();
  response.json(null);
});
app.post("/gates/:name", (request, response) => {
  gate(request.params.name).open();
  response.json(null);
});
app.post(SERVE_PATH, (request, _response, next) => {
  const call = request.body?.ctx ?? {};
  appendLine({ request: "POST", run_id: call.run_id ?? null, use_api: call.use_api ?? null });
  next();
});
app.use(SERVE_PATH, serveFunctions({ client, functions }));
app.listen(PORT, "127.0.0.1");
