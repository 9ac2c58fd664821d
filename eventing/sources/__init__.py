"""What brings events in beside HTTP: Kafka topics, Redis streams, timers."""
