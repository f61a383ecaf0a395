"""End-to-end encryption: the server stores and shows only what it cannot read.

    client = inngest.Inngest(
        app_id="my-app",
        middleware=[EncryptionMiddleware.factory(os.environ["MY_ENCRYPTION_KEY"])],
    )

Needs PyNaCl, which the extra `encryption` of this distribution installs. What is encrypted here can be read
by the encryption middleware of the official SDKs with the same key, and the reverse.
"""

from .cipher import Cipher, DecryptionError
from .middleware import EncryptionMiddleware

__all__ = ["Cipher", "DecryptionError", "EncryptionMiddleware"]
