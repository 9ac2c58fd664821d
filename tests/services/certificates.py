"""Certificates for servers on loopback, from an authority made for the occasion."""

from dataclasses import dataclass, field

import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)


@dataclass(frozen=True, slots=True)
class Certificate:
    """PEM texts. `both` is what KafkaServer's Access and RedisServer take as `pem`."""

    certificate: str
    key: str = field(repr=False)

    @property
    def both(self) -> str:
        return self.key + self.certificate


class Authority:
    """`ca` is its certificate as PEM: what the other side has to trust."""

    def __init__(self) -> None:
        self._authority = trustme.CA()
        self.ca = self._authority.cert_pem.bytes().decode()

    def issue(self, *names: str) -> Certificate:
        """One for these host names and addresses; without any, for 127.0.0.1 and localhost."""
        issued = self._authority.issue_cert(*(names or ("127.0.0.1", "localhost")))
        # Kafka reads PKCS #8 alone.
        key = load_pem_private_key(issued.private_key_pem.bytes(), None)
        text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        return Certificate(chain.decode(), text.decode())
