"""The embedded broker keeps the contract of every broker."""

from pathlib import Path

import pytest
from broker_contract import BrokerContract
from embedded_harness import EmbeddedHarness


class TestEmbeddedBroker(BrokerContract):
    @pytest.fixture
    def harness(self, tmp_path: Path) -> EmbeddedHarness:
        return EmbeddedHarness(tmp_path)
