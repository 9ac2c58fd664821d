"""What happens to a test whose server is not to be had: it is skipped and says what to install;
where CI=true or EVENTING_TEST_SERVICES=required it fails instead.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NoReturn

import pytest
from server_process import ServerUnavailable


def services_required(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a missing server is a failure."""
    told = environment.get("EVENTING_TEST_SERVICES", "")
    if told not in ("", "required", "optional"):
        pytest.exit(f"EVENTING_TEST_SERVICES is {told!r}; it is required or optional", 4)
    return told == "required" or (not told and environment.get("CI", "") in ("true", "1"))


def unavailable(reason: str) -> NoReturn:
    """End the running test as the rule says."""
    if services_required():
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@contextmanager
def needed() -> Iterator[None]:
    """Around what starts a server: a missing program skips or fails the test. A server that is
    there but does not come up is always a failure."""
    try:
        yield
    except ServerUnavailable as error:
        unavailable(str(error))
