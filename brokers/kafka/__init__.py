"""Brokers over Apache Kafka."""
