"""The broker contract over a real Kafka."""

import pytest
from broker_contract import BrokerContract
from kafka_harness import KafkaHarness
from kafka_properties import QUICK_GROUPS
from kafka_service import own_kafka

pytestmark = pytest.mark.service("kafka")


@pytest.fixture(scope="module")
def servers():
    # As short as a session may be: each crash is missed after one.
    with own_kafka(
        properties={**QUICK_GROUPS, "group.consumer.session.timeout.ms": "1500"}
    ) as server:
        yield server.bootstrap_servers


class TestKafkaBroker(BrokerContract):
    # The topic's own limits count.
    test_what_is_kept_counts_among_what_a_broker_may_hold = None

    @pytest.fixture
    def harness(self, servers: str) -> KafkaHarness:
        return KafkaHarness(servers)
