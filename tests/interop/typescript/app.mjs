// An ordinary app with the official TypeScript SDK: one function for each kind of step.
//
// Function `<case>` starts on event `interop/<case>`; `../cases.md` says what each must do. The packages are
// those of the folder in which it is started: `typescript_v3` has version 3 of the SDK.
//
// Environment: PORT; STEP_LOG, a file that gets one JSON line per step execution and per request to the
// serve endpoint; and what the SDK reads itself: INNGEST_BASE_URL, INNGEST_DEV, INNGEST_SIGNING_KEY,
// INNGEST_EVENT_KEY.

import fs from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(`${process.cwd()}/`);
const express = require("express");
const { fetch: stepFetch, Inngest, NonRetriableError, referenceFunction, RetryAfterError } = require("inngest");
const { serve } = require("inngest/express");

const IS_V3 = require("./package.json").dependencies.inngest.startsWith("~3.");
const APP_ID = IS_V3 ? "interop-ts3" : "interop-ts";
const SERVE_PATH = "/api/inngest";
const PORT = Number(process.env.PORT ?? 3000);
const PROVIDER_URL = `http://127.0.0.1:${PORT}/provider`; // This process too: it is asked by the server.
const PROVIDER_KEY = "sk-interop";
const LARGE_PART_BYTES = 900 * 1024; // Five of them are more than the 4 MiB that one call request may carry.
const HOLD_MS = 300;
const SHAPES = [null, {}, { data: 1 }, { error: "no" }, [1, "two", null, 2.5], 'Grüße 世界 \u2028 \\ "', 0, ""];

const client = new Inngest({ id: APP_ID });
const functions = [];
const logFile = process.env.STEP_LOG ? fs.openSync(process.env.STEP_LOG, "a") : null;

/** Append to the step log: one write for each line, so that several processes may share the file. */
function appendLine(line) {
  if (logFile === null) return;
  fs.writeSync(logFile, `${JSON.stringify({ ...line, pid: process.pid, at_ms: Date.now() })}\n`);
}

/** Record that the code of a step runs now. */
function executed(ctx, step, extra = {}) {
  appendLine({ run_id: ctx.runId, step, attempt: ctx.attempt, ...extra });
}

/** Serve a handler as function `<name>`, started by `interop/<name>` unless triggers are given. */
function serveCase(name, { triggers = [{ event: `interop/${name}` }], ...options }, handler) {
  const fn = IS_V3
    ? client.createFunction({ id: name, ...options }, triggers, handler)
    : client.createFunction({ id: name, triggers, ...options }, handler);
  functions.push(fn);
  return fn;
}

/** A step that records its execution and returns `value`. */
function run(ctx, step, value) {
  return ctx.step.run(step, () => {
    executed(ctx, step);
    return value;
  });
}

/** A step that records its execution and throws. */
function fail(ctx, step, error) {
  return ctx.step.run(step, () => {
    executed(ctx, step);
    throw error;
  });
}

/** What the parent sees when an invoked function or a step has failed for good. */
async function caught(promise) {
  try {
    return { returned: JSON.stringify(await promise) };
  } catch (error) {
    return { name: error.name, message: error.message };
  }
}

async function addFive(ctx) {
  let total = ctx.event.data?.start ?? 0;
  for (let number = 1; number <= 5; number++) {
    total = await run(ctx, `add-${number}`, total + number);
  }
  return { total };
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Steps that succeed.

serveCase("noop", {}, async () => null);

serveCase("sequential", {}, addFive);

if (!IS_V3) serveCase("sequential-no-checkpoint", { checkpointing: false }, addFive);

// Version 3 reports by checkpoints only where it is told to.
if (IS_V3) serveCase("sequential-checkpointed", { checkpointing: true }, addFive);

serveCase("sequential-buffered", { checkpointing: { bufferedSteps: 3, maxInterval: "2s" } }, addFive);

// Half of the steps come after the time in which a request may report by checkpoints.
serveCase("sequential-max-runtime", { checkpointing: { maxRuntime: "1s" } }, async (ctx) => {
  let total = 0;
  for (let number = 1; number <= 5; number++) {
    total = await ctx.step.run(`add-${number}`, async () => {
      executed(ctx, `add-${number}`);
      await pause(400);
      return total + number;
    });
  }
  return { total };
});

serveCase("many-steps", {}, async (ctx) => {
  const count = ctx.event.data?.n ?? 50;
  for (let number = 0; number < count; number++) await run(ctx, `step-${number}`, number);
  return { steps: count };
});

serveCase("repeated-ids", {}, async (ctx) => {
  const values = [];
  for (let number = 0; number < 3; number++) values.push(await run(ctx, "again", number));
  return values;
});

// A step with arguments, which a rerun may edit.
serveCase("with-input", {}, async (ctx) => {
  const doubled = await ctx.step.run(
    "double",
    (number) => {
      executed(ctx, "double");
      return number * 2;
    },
    21,
  );
  return { doubled, after: await run(ctx, "after", doubled + 1) };
});

serveCase("shapes", {}, async (ctx) => {
  const values = [];
  for (const [number, shape] of SHAPES.entries()) values.push(await run(ctx, `shape-${number}`, shape));
  return values;
});

async function joinThree(ctx) {
  const parts = await Promise.all([run(ctx, "a", 1), run(ctx, "b", 2), run(ctx, "c", 3)]);
  const joined = await run(ctx, "join", parts[0] + parts[1] + parts[2]);
  return { parts, joined };
}

serveCase("parallel", {}, joinThree);

// What version 4 does always: one discovery for all branches.
if (IS_V3) serveCase("parallel-optimized", { optimizeParallelism: true }, joinThree);

// Version 3 asks again after each branch, so that a race needs no word of its own.
const asRace = (ctx, branches) => (IS_V3 ? branches() : ctx.group.parallel({ mode: "race" }, branches));

serveCase("parallel-race", {}, async (ctx) => {
  const winner = await asRace(ctx, () =>
    Promise.race([
      run(ctx, "fast", "fast"),
      ctx.step.run("slow", async () => {
        executed(ctx, "slow");
        await pause(1500);
        return "slow";
      }),
    ]),
  );
  return { winner, after: await run(ctx, "after", "went on") };
});

serveCase("parallel-mixed", {}, async (ctx) => {
  const [ran, slept, waited, invoked] = await Promise.all([
    run(ctx, "run", "ran"),
    ctx.step.sleep("sleep", "1s"),
    ctx.step.waitForEvent("wait", { event: "interop/never", timeout: "1s" }),
    ctx.step.invoke("invoke", { function: child, data: { n: 4 } }),
  ]);
  return { ran, slept: slept ?? null, waited: waited === null ? null : waited.name, invoked };
});

// The request after the pause is over the limit, so that the SDK must fetch the memos.
serveCase("large-outputs", {}, async (ctx) => {
  let total = 0;
  for (let number = 0; number < 5; number++) {
    total += (await run(ctx, `part-${number}`, String(number).repeat(LARGE_PART_BYTES))).length;
  }
  await ctx.step.sleep("pause", "1s");
  return { length: await run(ctx, "last", total) };
});

// Time.

serveCase("sleep", {}, async (ctx) => {
  await run(ctx, "before", null);
  await ctx.step.sleep("nap", "1s");
  await run(ctx, "after", null);
  return { slept: true };
});

serveCase("sleep-until", {}, async (ctx) => {
  const untilMs = ctx.event.data?.until_ms ?? ctx.event.ts + 1500;
  await ctx.step.sleepUntil("until", new Date(untilMs));
  return { until_ms: await run(ctx, "after", untilMs) };
});

serveCase("cron", { triggers: [{ cron: "* * * * *" }] }, async (ctx) => {
  await run(ctx, "tick", null);
  return { event: ctx.event.name, cron: ctx.event.data?.cron ?? null };
});

// Events and signals.

serveCase("wait", {}, async (ctx) => {
  const event = await ctx.step.waitForEvent("approval", {
    event: "interop/approval",
    if: "event.data.id == async.data.id",
    timeout: "60s",
  });
  return { matched: event !== null, by: event?.data?.by ?? null };
});

serveCase("wait-match", {}, async (ctx) => {
  const event = await ctx.step.waitForEvent("approval", {
    event: "interop/approval",
    match: "data.id",
    timeout: "60s",
  });
  return { matched: event !== null, by: event?.data?.by ?? null };
});

serveCase("wait-timeout", {}, async (ctx) => {
  const event = await ctx.step.waitForEvent("approval", { event: "interop/never", timeout: "1s" });
  return { matched: event !== null };
});

serveCase("wait-signal", {}, async (ctx) => {
  const signal = await ctx.step.waitForSignal("signal", {
    signal: ctx.event.data.signal,
    timeout: "60s",
    onConflict: ctx.event.data.conflict ?? "fail",
  });
  return { matched: signal !== null, name: signal?.signal ?? null, data: signal?.data ?? null };
});

serveCase("wait-signal-timeout", {}, async (ctx) => {
  const signal = await ctx.step.waitForSignal("signal", { signal: `never-${ctx.runId}`, timeout: "1s", onConflict: "fail" });
  return { matched: signal !== null };
});

serveCase("send-signal", {}, async (ctx) => {
  await ctx.step.sendSignal("send", { signal: ctx.event.data.signal, data: { from: "send-signal" } });
  return { sent: true };
});

serveCase("send-event", {}, async (ctx) => {
  const { ids } = await ctx.step.sendEvent("send", [
    { name: "interop/sent", data: { from: ctx.runId, number: 1 } },
    { name: "interop/sent", data: { from: ctx.runId, number: 2 } },
  ]);
  return { ids, count: ids.length };
});

serveCase("receiver", { triggers: [{ event: "interop/sent" }] }, async (ctx) => {
  return { from: ctx.event.data.from, number: ctx.event.data.number };
});

serveCase(
  "filtered",
  { triggers: [{ event: "interop/filtered", if: "event.data.pass == true" }] },
  async () => "passed",
);

serveCase(
  "cancellable",
  { cancelOn: [{ event: "interop/cancel", if: "event.data.id == async.data.id" }] },
  async (ctx) => {
    await run(ctx, "begin", null);
    await ctx.step.sleep("long", "1h");
    await run(ctx, "end", null);
    return "not cancelled";
  },
);

// Invoked functions.

const child = serveCase("child", {}, async (ctx) => {
  return { doubled: await run(ctx, "double", 2 * (ctx.event.data?.n ?? 0)) };
});

const childFails = serveCase("child-fails", { retries: 0 }, async () => {
  throw new Error("the child failed");
});

const childSlow = serveCase("child-slow", {}, async (ctx) => {
  await ctx.step.sleep("slowly", "20s");
  return "late";
});

serveCase("invoke", {}, async (ctx) => {
  const result = await ctx.step.invoke("call", { function: child, data: { n: ctx.event.data?.n ?? 21 } });
  return { child: result };
});

serveCase("invoke-fails", {}, (ctx) => caught(ctx.step.invoke("call", { function: childFails })));

serveCase("invoke-unknown", {}, (ctx) => {
  const unknown = referenceFunction({ functionId: "no-such-function" });
  return caught(ctx.step.invoke("call", { function: unknown }));
});

serveCase("invoke-timeout", {}, (ctx) => {
  return caught(ctx.step.invoke("call", { function: childSlow, timeout: "1s" }));
});

serveCase("invoke-other-app", {}, async (ctx) => {
  const { app, function: functionId = "child", n = 21 } = ctx.event.data;
  const other = referenceFunction({ appId: app, functionId });
  return { child: await ctx.step.invoke("call", { function: other, data: { n } }) };
});

// Errors.

serveCase("step-retry", {}, async (ctx) => {
  await run(ctx, "before", null);
  const attempt = await ctx.step.run("flaky", () => {
    executed(ctx, "flaky");
    if (ctx.attempt < 2) throw new Error(`not yet, attempt ${ctx.attempt}`);
    return ctx.attempt;
  });
  return { attempt, after: await run(ctx, "after", ctx.attempt) };
});

serveCase("step-fails", { retries: 1 }, async (ctx) => {
  const error = await caught(fail(ctx, "doomed", new Error("never works")));
  return { caught: error, after: await run(ctx, "after", "went on") };
});

serveCase("step-fails-uncaught", { retries: 1 }, async (ctx) => {
  await fail(ctx, "doomed", new Error("never works"));
});

serveCase("parallel-one-fails", { retries: 1 }, async (ctx) => {
  const [error, fine] = await Promise.all([
    caught(fail(ctx, "doomed", new Error("never works"))),
    run(ctx, "fine", "ok"),
  ]);
  return { caught: error, fine };
});

serveCase("non-retriable", {}, async (ctx) => {
  executed(ctx, "body");
  throw new NonRetriableError("give up");
});

serveCase("step-non-retriable", {}, async (ctx) => {
  await fail(ctx, "doomed", new NonRetriableError("give up"));
});

serveCase("retry-after", {}, async (ctx) => {
  executed(ctx, "body");
  if (ctx.attempt === 0) throw new RetryAfterError("not before two seconds", "2s");
  return { attempt: ctx.attempt };
});

serveCase("step-retry-after", {}, async (ctx) => {
  const attempt = await ctx.step.run("later", () => {
    executed(ctx, "later");
    if (ctx.attempt === 0) throw new RetryAfterError("not before two seconds", "2s");
    return ctx.attempt;
  });
  return { attempt };
});

serveCase("function-retry", {}, async (ctx) => {
  await run(ctx, "once", null);
  executed(ctx, "body");
  if (ctx.attempt < 2) throw new Error(`not yet, attempt ${ctx.attempt}`);
  return { attempt: ctx.attempt };
});

serveCase(
  "function-fails",
  {
    retries: 1,
    // Runs as `function-fails-failure`; its log line names the run that failed.
    onFailure: async (ctx) => {
      const failedRunId = ctx.event.data.run_id;
      const message = await ctx.step.run("handle", () => {
        executed(ctx, "on-failure", { failed_run_id: failedRunId });
        return ctx.error.message;
      });
      return { failed_run_id: failedRunId, message };
    },
  },
  async (ctx) => {
    executed(ctx, "body");
    throw new Error("the function failed");
  },
);

// Requests that the server makes.

function infer(ctx, step, text, path = "") {
  const model = ctx.step.ai.models.openai({
    model: "m-1",
    apiKey: PROVIDER_KEY,
    baseUrl: `${PROVIDER_URL}${path}`,
  });
  return ctx.step.ai.infer(step, { model, body: { messages: [{ role: "user", content: text }] } });
}

serveCase("ai-infer", {}, async (ctx) => {
  const answer = await infer(ctx, "ask", "hello");
  return { model: answer.model, content: answer.choices[0].message.content };
});

serveCase("ai-infer-parallel", {}, async (ctx) => {
  const [first, second, ran] = await Promise.all([
    infer(ctx, "first", "one"),
    infer(ctx, "second", "two"),
    run(ctx, "run", "ran"),
  ]);
  return [first.choices[0].message.content, second.choices[0].message.content, ran];
});

serveCase("ai-infer-fails", { retries: 1 }, (ctx) => caught(infer(ctx, "ask", "hello", "/busy")));

serveCase("fetch", { retries: 0 }, async (ctx) => {
  const headers = { "content-type": "text/plain", "x-mine": "1" };
  const posted = await stepFetch(`${PROVIDER_URL}/thing?q=1`, { method: "POST", headers, body: "text" });
  const missing = await stepFetch(`${PROVIDER_URL}/missing`);
  const deleted = await stepFetch(`${PROVIDER_URL}/thing`, { method: "DELETE" });
  return {
    posted: { status: posted.status, made: posted.headers.get("x-made"), seen: await posted.json() },
    missing: missing.status,
    deleted: { status: deleted.status, text: await deleted.text() },
    unreachable: await caught(stepFetch("http://127.0.0.1:9/")),
  };
});

// Limits.

serveCase("limited", { concurrency: [{ limit: 1, key: "event.data.key" }] }, (ctx) => {
  return ctx.step.run("hold", async () => {
    executed(ctx, "hold", { key: ctx.event.data.key });
    await pause(HOLD_MS);
    executed(ctx, "hold-end", { key: ctx.event.data.key });
    return "held";
  });
});

const app = express();
app.use(express.json({ limit: "16mb" }));
app.post("/provider/chat/completions", (request, response) => {
  if (request.headers.authorization !== `Bearer ${PROVIDER_KEY}`) {
    response.status(401).json({ error: "no key" });
    return;
  }
  const said = request.body.messages.at(-1).content;
  const choices = [{ message: { role: "assistant", content: `echo: ${said}` } }];
  response.json({ model: request.body.model, choices });
});
app.post("/provider/busy/chat/completions", (_request, response) => {
  response.status(429).json({ error: { message: "slow down" } });
});
app.post("/provider/thing", express.text(), (request, response) => {
  const { body, query, headers } = request;
  response.set("x-made", "yes").json({ body, query, mine: headers["x-mine"], key: headers.authorization ?? null });
});
app.delete("/provider/thing", (_request, response) => response.status(204).end());
app.use(SERVE_PATH, (request, _response, next) => {
  const call = request.method === "POST" ? (request.body?.ctx ?? {}) : {};
  appendLine({
    request: request.method,
    run_id: call.run_id ?? null,
    function: request.query.fnId ?? null,
    step_id: request.query.stepId ?? null,
    attempt: call.attempt ?? null,
    use_api: call.use_api ?? null,
  });
  next();
});
app.use(SERVE_PATH, serve({ client, functions }));
app.listen(PORT, "127.0.0.1");
