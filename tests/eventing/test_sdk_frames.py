"""The frames between node and worker: whatever comes in, frames or one clear refusal."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventing.event import Event
from eventing.sdk import frames
from eventing.sdk.answer import Answer
from eventing.sdk.frames import FrameError, FrameReader, FrameTooLarge

names = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=20)
attributes = st.dictionaries(names, st.text(max_size=50), max_size=8)
events = st.builds(Event, attributes, st.none() | st.binary(max_size=200))
seconds = st.none() | st.floats(0, 1e9)
calls = st.tuples(st.integers(0, 2**63), events, st.integers(1, 1000), st.text(), seconds)
answers = st.builds(
    Answer,
    status=st.integers(0, 599),
    replies=st.lists(events, max_size=3).map(tuple),
    body=st.binary(max_size=100),
    reason=st.text(max_size=100),
    retry_after=seconds,
    started=st.integers(0, 2**62),
)
plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats()
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def cut(data, random):
    """`data` in pieces as a socket may bring them."""
    while data:
        size = random.choice((1, 3, 7, 50, 1000))
        yield data[:size]
        data = data[size:]


@given(st.lists(calls, max_size=5), st.randoms())
def test_calls_come_out_as_they_went_in_whatever_pieces_they_come_in(given_calls, random):
    data = b"".join(frames.encode_call(*call) for call in given_calls)
    reader = FrameReader()
    found = [frames.decode_call(f) for piece in cut(data, random) for f in reader.feed(piece)]
    assert found == [frames.CallFrame(*call) for call in given_calls]


@given(st.integers(0, 2**63), answers)
def test_answers_come_out_as_they_went_in(id, answer):
    (frame,) = FrameReader().feed(answer.encode(id))
    assert frames.decode_result(frame, Answer) == (id, answer)


@given(st.binary(max_size=500), st.randoms())
@settings(max_examples=300)
def test_any_bytes_are_frames_or_refused(data, random):
    reader = FrameReader()
    try:
        for piece in cut(data, random):
            for frame in reader.feed(piece):
                assert type(frame[0]) is int
    except FrameError:
        pass


@given(st.lists(plain, max_size=9))
@settings(max_examples=300)
def test_any_array_is_a_call_or_an_answer_or_refused(items):
    data = frames._prefix(len(frames._pack(items))) + frames._pack(items)
    try:
        (frame,) = FrameReader().feed(data)
    except FrameError:
        return
    for decode in (frames.decode_call, lambda f: frames.decode_result(f, Answer)):
        try:
            decode(frame)
        except FrameError:
            pass


@given(answers, st.integers(1, 7), plain)
@settings(max_examples=300)
def test_an_answer_with_an_item_of_another_type_is_refused_or_fits(answer, place, item):
    (frame,) = FrameReader().feed(answer.encode(1))
    frame[place] = item
    try:
        _, made = frames.decode_result(frame, Answer)
    except FrameError:
        return
    assert isinstance(made.status, int)
    assert all(isinstance(reply, Event) for reply in made.replies)


def test_a_frame_over_the_limit_is_refused_before_it_is_read():
    data = (frames.MAX_FRAME + 1).to_bytes(4, "big")
    with pytest.raises(FrameError, match="at most"):
        list(FrameReader().feed(data))


def test_a_frame_over_the_limit_is_not_sent():
    with pytest.raises(FrameTooLarge):
        frames.encode_call(1, Event({}, bytes(frames.MAX_FRAME)), 1, "", None)


def test_replies_that_make_too_large_a_frame_become_a_failure_for_good():
    answer = Answer(200, (Event({"id": "1"}, bytes(frames.MAX_FRAME)),), started=5)
    (frame,) = FrameReader().feed(answer.encode(1))
    _, made = frames.decode_result(frame, Answer)
    assert (made.status, made.replies, made.started) == (413, (), 5)


@pytest.mark.parametrize(
    "frame", [[frames.CALL, 1], [frames.START], [frames.START, 1], [frames.START, {}, 1]]
)
def test_settings_come_in_a_start_frame_only(frame):
    with pytest.raises(FrameError, match="no START"):
        frames.require_settings(frame)
