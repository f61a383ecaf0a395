// An app with the official TypeScript SDK, which executes several steps in one request and reports them by
// checkpoints. It is started in a folder that has the packages; ORDERS_MAIL is the name of a step, and
// GET /executed says how often a step was executed.

import { createRequire } from "node:module";

const require = createRequire(`${process.cwd()}/`);
const express = require("express");
const { Inngest } = require("inngest");
const { serve } = require("inngest/express");

const client = new Inngest({ id: "orders" });
let executed = 0;

/** A step that counts itself and returns `value`. */
function run(step, name, value) {
  return step.run(name, () => {
    executed += 1;
    return value;
  });
}

const order = client.createFunction({ id: "order", triggers: [{ event: "order/placed" }] }, async ({ event, step }) => {
  const reserved = await run(step, "reserve", event.data.amount);
  const mailed = await run(step, process.env.ORDERS_MAIL, "mailed");
  const [sms] = await Promise.all([run(step, "sms", "sent"), step.sleep("cool off", "7d")]);
  await step.waitForEvent("paid", { event: "order/paid", timeout: "2d", match: "data.id" });
  return [reserved, mailed, sms, await run(step, "close", "closed")];
});

const app = express();
app.use(express.json({ limit: "10mb" }));
app.get("/executed", (request, response) => response.json(executed));
app.use("/api/inngest", serve({ client, functions: [order] }));
const server = app.listen(0, "127.0.0.1", () => console.log(server.address().port));
