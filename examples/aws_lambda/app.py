"""Onboarding with AWS Lambda: a mail at once and another a day later.

Deploy this file with the SDK beside it, `app.handler` as the handler, and a function URL or an API Gateway in
front. INNGEST_SIGNING_KEY, INNGEST_EVENT_KEY and INNGEST_BASE_URL belong to the function's environment. Then
let the app register, and send an event to your server:

    curl -X PUT https://your-function-url/api/inngest
    curl $INNGEST_BASE_URL/e/$INNGEST_EVENT_KEY \\
        -d '{"name": "app/account.created", "data": {"email": "a@example.com"}}'
"""

from datetime import timedelta

import inngest
import inngest.aws_lambda

client = inngest.Inngest(app_id="onboarding")


@client.create_function(fn_id="onboard", trigger=inngest.TriggerEvent(event="app/account.created"))
def onboard(ctx: inngest.ContextSync) -> str:
    email = str(ctx.event.data["email"])
    ctx.step.run("send welcome", send_mail, email, "Welcome!")
    ctx.step.sleep("let a day pass", timedelta(days=1))
    return ctx.step.run("send tips", send_mail, email, "Three things to try first")


def send_mail(to: str, subject: str) -> str:
    """Where your mail service would be. A step whose result is stored is not run again."""
    return f"sent {subject!r} to {to}"


handler = inngest.aws_lambda.serve(client, [onboard])
