"""Durations as Go, and so Knative's annotations and Istio, write them."""


def go_duration(seconds: float) -> str:
    """`1.5` as `1.5s`; nanoseconds at best."""
    digits = f"{seconds:.9f}".rstrip("0").rstrip(".")
    return f"{digits}s"
