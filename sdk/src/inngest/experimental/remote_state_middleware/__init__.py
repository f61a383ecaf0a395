"""Keep step outputs in a store of your own; the server gets only where each one is.

    from inngest.experimental import remote_state_middleware as remote_state

    driver = remote_state.S3Driver(bucket="step-outputs", client=boto3.client("s3"))
    client = inngest.Inngest(app_id="my-app", middleware=[remote_state.RemoteStateMiddleware.factory(driver)])

For outputs that are larger than a server takes, or that must not leave your network. Function outputs and
events are not stored: they are for others.
"""

from .drivers import InMemoryDriver, RemoteStateError, S3Driver
from .middleware import RemoteStateMiddleware, StateDriver

__all__ = ["InMemoryDriver", "RemoteStateError", "RemoteStateMiddleware", "S3Driver", "StateDriver"]
