"""eventing: an event-driven serverless runtime."""
