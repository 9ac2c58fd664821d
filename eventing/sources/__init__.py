"""Sources: what brings events in beside the ingress."""
