"""Where an event is, as one integer: its partition and its offset, and back."""

PARTITIONS_AT_MOST = 10_000


def position_of(partition: int, offset: int) -> int:
    """Positions rise within a partition, and no two events of a topic share one."""
    return offset * PARTITIONS_AT_MOST + partition + 1


def place_of(position: int) -> tuple[int, int]:
    """Partition and offset of the event at this position."""
    offset, partition = divmod(position - 1, PARTITIONS_AT_MOST)
    return partition, offset


def first_offset(position: int, partition: int) -> int:
    """The first offset of this partition whose position is `position` or above."""
    return max(0, -((partition + 1 - position) // PARTITIONS_AT_MOST))
