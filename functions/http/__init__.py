"""HTTP out: a lean client, and the service that calls an address with an event."""
