import io
import logging
import threading
from collections.abc import Iterator
from typing import TextIO

import pytest

from asgibridge.errors import SettingsError
from asgibridge.ops.access import AccessLog, AccessRecord, LineHandler


def record(target: str = "/", cut_reason: str | None = None) -> AccessRecord:
    return AccessRecord(
        client="203.0.113.9",
        method="GET",
        target=target,
        http_version="1.1",
        status=200,
        body_bytes=3,
        started=1_700_000_000.0,
        duration=0.5,
        cut_reason=cut_reason,
        thread_id=42,
        thread_name="pool-1",
    )


class CountingStream(io.StringIO):
    """Counts calls of `write`; refuses them while `error` is set."""

    calls = 0
    error: Exception | None = None

    def write(self, text: str) -> int:
        self.calls += 1
        if self.error is not None:
            raise self.error
        return super().write(text)


class ListHandler(logging.Handler):
    """Keeps records; raises while `error` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.error: Exception | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if self.error is not None:
            raise self.error
        self.records.append(record)

    @property
    def messages(self) -> list[str]:
        return [record.getMessage() for record in self.records]


@pytest.fixture
def stream() -> CountingStream:
    return CountingStream()


@pytest.fixture
def general() -> Iterator[ListHandler]:
    """What the general log is told."""
    handler = ListHandler()
    logger = logging.getLogger("asgibridge")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


def make_logger(*handlers: logging.Handler) -> logging.Logger:
    """Make a logger nobody else knows."""
    logger = logging.Logger("asgibridge.access", logging.INFO)  # noqa: LOG001 - that is why
    for handler in handlers:
        logger.addHandler(handler)
    return logger


def make_log(stream: TextIO, max_waiting: int = 1000) -> AccessLog:
    return AccessLog("%(U)s", make_logger(LineHandler(stream)), max_waiting=max_waiting)


def test_cut_is_true_when_there_is_a_reason() -> None:
    assert not record().cut
    assert record(cut_reason="client gone").cut


def test_write_writes_nothing_until_flush(stream: CountingStream) -> None:
    log = make_log(stream)
    for target in ("/a", "/b", "/c"):
        log.write(record(target))
    assert stream.calls == 0

    log.flush()

    assert stream.getvalue() == "/a\n/b\n/c\n"
    assert stream.calls == 1


def test_nothing_to_flush_writes_nothing(stream: CountingStream) -> None:
    make_log(stream).flush()

    assert stream.calls == 0


def test_write_asks_for_a_flush_once_until_it_is_called(stream: CountingStream) -> None:
    log = make_log(stream)

    assert [log.write(record()) for _ in range(3)] == [True, False, False]
    log.flush()
    assert [log.write(record()) for _ in range(3)] == [True, False, False]


def test_never_more_than_max_waiting_wait(stream: CountingStream) -> None:
    log = make_log(stream, max_waiting=4)

    asked = [log.write(record(f"/{n}")) for n in range(11)]

    assert stream.getvalue().split() == [f"/{n}" for n in range(8)]
    assert stream.calls == 2
    assert asked.count(True) == 1  # One timer, however often the bound is reached.
    log.flush()
    assert stream.getvalue().split() == [f"/{n}" for n in range(11)]


@pytest.mark.parametrize("max_waiting", [7, 1000])
def test_eight_threads_and_a_flush_lose_and_double_nothing(max_waiting: int) -> None:
    """Records of one thread stay in order, too."""
    stream = io.StringIO()
    log = make_log(stream, max_waiting=max_waiting)
    done = threading.Event()
    begin = threading.Barrier(9)

    def write(writer: int) -> None:
        begin.wait()
        for number in range(2000):
            log.write(record(f"/{writer}/{number}"))

    def flush() -> None:
        begin.wait()
        while not done.is_set():
            log.flush()

    flusher = threading.Thread(target=flush)
    writers = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in [flusher, *writers]:
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    flusher.join()
    log.flush()

    lines = stream.getvalue().splitlines()
    for writer in range(8):
        mine = [line for line in lines if line.startswith(f"/{writer}/")]
        assert mine == [f"/{writer}/{number}" for number in range(2000)]
    assert len(lines) == 16_000


def test_flushing_when_asked_is_enough(stream: CountingStream) -> None:
    """Several threads that flush only when `write` said so leave nothing behind."""
    log = make_log(stream)

    def write(writer: int) -> None:
        for number in range(2000):
            if log.write(record(f"/{writer}/{number}")):
                log.flush()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(set(stream.getvalue().split())) == 8000


def test_a_record_that_comes_during_a_flush_asks_for_the_next_one() -> None:
    asked: list[bool] = []

    class BusyStream(io.StringIO):
        def write(self, text: str) -> int:
            if not asked:
                asked.append(log.write(record("/meanwhile")))
            return super().write(text)

    stream = BusyStream()
    log = make_log(stream)
    log.write(record("/first"))
    log.flush()

    assert asked == [True]
    log.flush()
    assert stream.getvalue() == "/first\n/meanwhile\n"


def test_two_flushes_at_once_keep_the_order(stream: CountingStream) -> None:
    first_began, second_ended = threading.Event(), threading.Event()
    logger = make_logger(LineHandler(stream))
    log = AccessLog("%(U)s", logger)

    def hold_first(told: logging.LogRecord) -> bool:
        if told.getMessage() == "/first":
            first_began.set()
            second_ended.wait(0.2)  # It must not end before: this bounds the wait for that.
        return True

    def flush_second() -> None:
        log.flush()
        second_ended.set()

    logger.addFilter(hold_first)
    log.write(record("/first"))
    first = threading.Thread(target=log.flush)
    first.start()
    first_began.wait()
    log.write(record("/second"))
    second = threading.Thread(target=flush_second)
    second.start()
    for thread in (first, second):
        thread.join()

    assert stream.getvalue() == "/first\n/second\n"


def test_another_handler_gets_one_logging_record_per_line(stream: CountingStream) -> None:
    other = ListHandler()
    log = AccessLog("%(U)s", make_logger(LineHandler(stream), other))
    mine = record("/a")
    log.write(mine)
    log.write(record("/b"))

    log.flush()

    assert stream.getvalue() == "/a\n/b\n"
    assert other.messages == ["/a", "/b"]
    told = other.records[0]
    assert (told.created, told.msecs) == (1_700_000_000.5, 500.0)
    assert (told.thread, told.threadName, told.levelno) == (42, "pool-1", logging.INFO)
    assert vars(told)["access"] is mine


def test_our_handler_obeys_filters_formatters_and_levels(stream: CountingStream) -> None:
    handler = LineHandler(stream)
    handler.addFilter(lambda record: record.getMessage() != "/health")
    handler.setFormatter(logging.Formatter("<%(message)s>"))
    log = AccessLog("%(U)s", make_logger(handler))
    log.write(record("/a"))
    log.write(record("/health"))
    log.flush()
    handler.setLevel(logging.WARNING)
    log.write(record("/b"))
    log.flush()

    assert stream.getvalue() == "</a>\n"


def test_records_reach_handlers_of_the_parent(stream: CountingStream) -> None:
    parent, logger = make_logger(other := ListHandler()), make_logger(LineHandler(stream))
    logger.parent = parent
    log = AccessLog("%(U)s", logger)
    log.write(record("/a"))
    log.flush()

    assert (stream.getvalue(), other.messages) == ("/a\n", ["/a"])


def test_a_logger_turned_off_costs_no_lines(stream: CountingStream) -> None:
    logger = make_logger(LineHandler(stream))
    logger.setLevel(logging.WARNING)
    log = AccessLog("%(U)s", logger)
    log.write(record())
    log.flush()

    assert stream.calls == 0


@pytest.mark.parametrize("joined", [True, False])
def test_a_stream_that_fails_is_spoken_of_when_it_begins_and_ends(
    stream: CountingStream, general: ListHandler, *, joined: bool
) -> None:
    handlers = [LineHandler(stream)] if joined else [LineHandler(stream), logging.NullHandler()]
    log = AccessLog("%(U)s", make_logger(*handlers))
    stream.error = BrokenPipeError("reader gone")
    for _ in range(3):
        log.write(record("/lost"))
        log.flush()
    stream.error = None
    for target in ("/a", "/b"):
        log.write(record(target))
        log.flush()

    assert stream.getvalue() == "/a\n/b\n"
    assert general.messages == [
        "access log cannot be written error=BrokenPipeError('reader gone')",
        "access log is written again lost=3",
    ]


def test_a_closed_stream_raises_nothing(stream: CountingStream, general: ListHandler) -> None:
    log = make_log(stream)
    stream.close()
    log.write(record())
    log.flush()

    assert len(general.messages) == 1


def test_a_handler_that_raises_does_not_stop_the_others(general: ListHandler) -> None:
    bad = ListHandler()
    bad.error = ValueError("mine")
    log = AccessLog("%(U)s", make_logger(bad))
    for target in ("/a", "/b"):
        log.write(record(target))
    log.flush()
    bad.error = None
    log.write(record("/c"))
    log.flush()

    assert bad.messages == ["/c"]
    assert general.messages == [
        "access log cannot be written error=ValueError('mine')",
        "access log is written again lost=2",
    ]


def test_a_stream_that_knows_ascii_only_gets_every_line() -> None:
    raw = io.BytesIO()
    log = AccessLog("→ %(U)s", make_logger(LineHandler(io.TextIOWrapper(raw, "ascii"))))
    log.write(record("/é"))
    log.flush()

    assert raw.getvalue() == b"\\u2192 /\\xc3\\xa9\n"


def test_a_wrong_format_is_refused_at_once() -> None:
    with pytest.raises(SettingsError):
        AccessLog("%(nothing)s")
