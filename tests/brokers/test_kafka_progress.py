"""What a commit says: the offset, and in its metadata exactly what is open above it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokers.kafka.positions import PARTITIONS_AT_MOST, first_offset, place_of, position_of
from brokers.kafka.progress import OPEN_AT_MOST, TEXT_AT_MOST, Progress, decode

offsets = st.integers(0, 2**40)


@st.composite
def progresses(draw: st.DrawFn) -> Progress:
    base = draw(offsets)
    opened = draw(st.sets(st.integers(base, base + 300), max_size=200))
    end = max(opened, default=base) + 1 + draw(st.integers(0, 1000))
    return Progress(end, opened, draw(st.integers(0, 10**6)))


@given(progresses(), st.text())
def test_it_is_read_back_as_it_was_committed(progress: Progress, writer: str) -> None:
    writer = writer.encode(errors="replace").decode()
    found = decode(*progress.encode(writer))
    assert (found.progress.next, found.progress.open) == (progress.next, progress.open)
    assert found.progress.waiting == progress.waiting
    assert found.writer == writer or (writer, found.writer) == ("", "-")


@given(progresses())
def test_the_offset_never_passes_what_is_open(progress: Progress) -> None:
    offset, _ = progress.encode("n")
    assert all(offset <= each for each in progress.open)
    assert offset == progress.low


def test_more_than_the_metadata_can_name_counts_as_not_handed_out() -> None:
    apart = 10**6
    progress = Progress(apart * OPEN_AT_MOST, {apart * each for each in range(OPEN_AT_MOST)})
    offset, metadata = progress.encode("node")
    assert len(metadata) <= TEXT_AT_MOST
    found = decode(offset, metadata).progress
    assert found.open <= progress.open
    assert all(each >= found.next for each in progress.open - found.open)


@pytest.mark.parametrize(
    "metadata",
    [None, "", "of another client", "eventing/1", "eventing/1 n x ", "eventing/1 n 1 gA==",
     "eventing/2 n 0 AQ=="],
)  # fmt: skip
def test_metadata_of_others_say_nothing(metadata: str | None) -> None:
    found = decode(7, metadata)
    assert (found.progress.next, found.progress.open, found.writer) == (7, set(), "")


def test_lag_counts_what_is_not_read_what_is_open_and_what_waits() -> None:
    assert Progress(10, {3, 4}, 2).lag(15) == 5 + 2 + 2
    assert Progress(10).lag(8) == 0


@given(st.integers(0, PARTITIONS_AT_MOST - 1), st.integers(0, 2**45))
def test_a_position_names_a_partition_and_an_offset(partition: int, offset: int) -> None:
    position = position_of(partition, offset)
    assert place_of(position) == (partition, offset)
    assert 1 <= position < 2**63


@given(st.integers(1, 2**50), st.integers(0, PARTITIONS_AT_MOST - 1))
def test_the_first_offset_from_a_position_on(position: int, partition: int) -> None:
    first = first_offset(position, partition)
    assert position_of(partition, first) >= position
    assert first == 0 or position_of(partition, first - 1) < position
