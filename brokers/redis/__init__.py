"""Brokers over Redis and Valkey."""
