"""A Kafka to try things with, until Ctrl-C: `python compose/local_servers/run_kafka.py [PORT]`.

Its data goes with it. Nodes of ours that are killed are missed within seconds; how to have that of
another Kafka is said in docs/kafka.md under "Rebalancing".
"""

import signal
import sys
from threading import Event

from kafka_properties import QUICK_GROUPS, Ports
from kafka_server import KafkaServer, free_ports
from server_process import ServerFailed, ServerUnavailable

PORT = 9092


def main() -> None:
    if len(sys.argv) > 2 or not all(each.isdecimal() for each in sys.argv[1:]):
        sys.exit("usage: run_kafka.py [PORT]")
    over = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    free = free_ports()
    ports = Ports(int(sys.argv[1]) if sys.argv[1:] else PORT, free.inside, free.controller)
    try:
        with KafkaServer(properties=QUICK_GROUPS, nodes=[ports]):
            sys.stdout.write(f"Kafka is at localhost:{ports.clients}; Ctrl-C ends it\n")
            sys.stdout.flush()
            over.wait()
    except (ServerUnavailable, ServerFailed) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
