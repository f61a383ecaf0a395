"""Onboarding with DigitalOcean Functions: a mail at once and another a day later.

Deployed, the file is the function's `__main__.py`, and project.yml has `web: raw` for it. On this machine:

    INNGEST_DEV=1 .venv/bin/python examples/digital_ocean/app.py

In another terminal:

    .venv/bin/inngest dev -u http://127.0.0.1:8000/api/v1/web/fn-00000000/fake-name --no-discovery
    curl http://localhost:8288/e/test -d '{"name": "app/account.created", "data": {"email": "a@example.com"}}'
"""

from datetime import timedelta

import inngest
import inngest.digital_ocean
from inngest.experimental.digital_ocean_simulator import DigitalOceanSimulator

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


main = inngest.digital_ocean.serve(client, [onboard])

if __name__ == "__main__":
    DigitalOceanSimulator(main).app.run(port=8000)
