"""What functions print and log reaches the node line by line, with its event, at a bounded rate."""

import asyncio
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions import output_lines
from functions.output_lines import LINE_LIMIT, LineCutter, OutputPipe, parse_line

APP = """
    import logging, os, sys, threading
    from eventing import Context, CloudEvent, function

    print("importing")

    @function
    def speak(event: CloudEvent, ctx: Context):
        print("to stdout")
        print("to stderr", file=sys.stderr)
        ctx.logger.warning("a warning")
        logging.getLogger("library").info("an info")
        logging.getLogger("library").debug("a debug")
        os.write(1, b"past Python\\n")
        sys.stdout.buffer.write(b"as bytes\\n")
        thread = threading.Thread(target=print, args=("from a thread",))
        thread.start()
        thread.join()
        print("two\\nlines, the last without an end", end="")

    @function
    async def interleave(event: CloudEvent):
        import asyncio
        for word in ("one ", "two ", "three"):
            print(word, end="")
            await asyncio.sleep(0.001)
        print()

    @function
    def chatter(event: CloudEvent):
        while True:
            print("y" * 100)
"""


def test_lines_carry_their_stream_level_and_event(run_project):
    async def body(running):
        speak = running.launch("speak")
        speak.call(7)
        await speak.answer(7)
        for text, stream, level, id in (
            ("to stdout", "stdout", "INFO", "7"),
            ("to stderr", "stderr", "INFO", "7"),
            ("lines, the last without an end", "stdout", "INFO", "7"),
            ("a warning", "stderr", "WARNING", "7"),
            ("an info", "stderr", "INFO", "7"),
            ("past Python", "stdout", "INFO", ""),
            ("as bytes", "stdout", "INFO", ""),
            ("from a thread", "stdout", "INFO", "7"),
        ):
            line = await running.logged(text)
            assert (line.stream, line.level, line.event_id) == (stream, level, id), text
            assert line.text == text
            assert line.event_source == ("/test" if id else "")
            assert line.function == "default/speak"
        assert not [line for line in running.logs if "a debug" in line.text]
        assert (await running.logged("importing")).function == ""

    run_project(APP, body)


def test_events_handled_together_keep_their_lines_apart(run_project):
    async def body(running):
        interleave = running.launch("interleave", concurrency=10)
        for id in range(5):
            interleave.call(id)
        for id in range(5):
            await interleave.answer(id)
        await running.until(
            lambda: len([line for line in running.logs if line.text == "one two three"]) == 5
        )
        ids = {line.event_id for line in running.logs if line.text == "one two three"}
        assert ids == {"0", "1", "2", "3", "4"}

    run_project(APP, body)


def test_a_projects_own_logging_configuration_rules(run_project):
    source = """
        import logging
        from eventing import Context, function

        logging.basicConfig(level=logging.DEBUG, format="mine: %(message)s")

        @function
        def speak(ctx: Context):
            ctx.logger.debug("hello")
    """

    async def body(running):
        speak = running.launch("speak")
        speak.call(7)
        line = await running.logged("mine: hello")
        assert line.event_id == "7"

    run_project(source, body)


def test_the_last_lines_come_before_the_end(run_project):
    source = """
        import os
        from eventing import function

        @function
        def die(data: bytes):
            for number in range(500):
                print("line", number)
            os._exit(1)
    """

    async def body(running):
        die = running.launch("die")
        die.call()
        await die.end()
        assert [line.text for line in running.logs][-1] == "line 499"

    run_project(source, body)


def test_printing_without_end_is_slowed_down_and_said(run_project, monkeypatch):
    monkeypatch.setattr(output_lines, "RATE", 1 << 18)
    monkeypatch.setattr(output_lines, "BURST", 1 << 18)

    async def body(running):
        chatter = running.launch("chatter")
        chatter.call()
        line = await running.logged("faster than")
        assert (line.stream, line.level, line.function) == ("node", "WARNING", "default/chatter")
        count = len(running.logs)
        await asyncio.sleep(0.3)
        cost = 100 + output_lines._LINE_COST
        assert (len(running.logs) - count) * cost < 4 * (1 << 18)
        chatter.worker.kill()
        assert await chatter.end() == "killed by SIGKILL"

    run_project(APP, body)


@given(st.lists(st.binary(max_size=50)), st.randoms())
def test_lines_are_cut_the_same_whatever_pieces_they_come_in(lines, random):
    text = b"".join(line.replace(b"\n", b" ") + b"\n" for line in lines)
    cutter = LineCutter()
    found = []
    while text:
        size = random.randint(1, 20)
        found += cutter.feed(text[:size])
        text = text[size:]
    assert found == [line.replace(b"\n", b" ") for line in lines]
    assert cutter.end() == []


def test_a_long_line_is_kept_up_to_the_limit_and_says_so():
    cutter = LineCutter()
    lines = []
    for _ in range(10):
        lines += cutter.feed(b"x" * LINE_LIMIT)
    lines += cutter.feed(b"\nnext\n")
    assert lines[1] == b"next"
    assert lines[0].startswith(b"x" * LINE_LIMIT)
    assert f"({9 * LINE_LIMIT} bytes of this line were cut)".encode() in lines[0]
    assert len(lines[0]) < LINE_LIMIT + 100


@given(st.binary())
def test_any_bytes_make_a_line(data):
    parse_line(data, "f", "stdout", 0.0)


@pytest.mark.parametrize("data", [b"\x1eINFO\x1f1\x1f/a", b"\x1e", b"\x1e\x1f\x1f"])
def test_an_unfinished_mark_is_text(data):
    line = parse_line(data, "f", "stdout", 0.0)
    assert line.text == data.decode()
    assert line.event_id == ""


def test_a_pipe_tells_what_has_no_end_when_it_closes():
    async def main():
        read, write = os.pipe()
        lines = []
        pipe = OutputPipe(read, "f", "stdout", lines.append)
        os.write(write, b"whole\nunfinished")
        os.close(write)
        pipe.close()
        assert [line.text for line in lines] == ["whole", "unfinished"]

    asyncio.run(main())
