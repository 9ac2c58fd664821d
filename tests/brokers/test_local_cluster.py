"""A node on its own keeps the part of the contract that needs no others."""

from dataclasses import dataclass

import pytest
from cluster_contract import LoneContract


@dataclass
class LocalHarness:
    url: str = "embedded"


class TestLocalCluster(LoneContract):
    @pytest.fixture
    def harness(self) -> LocalHarness:
        return LocalHarness()
