"""Speaks just enough of Kafka's protocol to create a topic and to read Metadata. Used by both sides of the comparison.

Starting a JVM for `kafka-topics` takes a second of two cores; this takes a millisecond, so it can watch an ISR.
"""

import socket
import struct

CREATE_TOPICS, METADATA = 19, 3
ALREADY_EXISTS = 36


class Refused(Exception):
    """A broker answered with an error."""


def _text(value):
    raw = value.encode()
    return struct.pack(">h", len(raw)) + raw


class _Answer:
    def __init__(self, raw):
        self.raw, self.at = raw, 0

    def number(self, form):
        (value,) = struct.unpack_from(form, self.raw, self.at)
        self.at += struct.calcsize(form)
        return value

    def text(self):
        length = self.number(">h")
        start, self.at = self.at, self.at + max(length, 0)
        return self.raw[start : self.at].decode() if length >= 0 else None

    def numbers(self):
        return [self.number(">i") for _ in range(self.number(">i"))]


def _ask(address, key, version, body, timeout):
    head = struct.pack(">hhi", key, version, 1) + _text("bench")
    with socket.create_connection(address, timeout=timeout) as connection:
        connection.sendall(struct.pack(">i", len(head) + len(body)) + head + body)
        reader = connection.makefile("rb")
        prefix = reader.read(4)
        if len(prefix) < 4:
            raise ConnectionError(f"{address} closed the connection")
        answer = _Answer(reader.read(*struct.unpack(">i", prefix)))
    answer.number(">i")  # the correlation id
    return answer


def create_topic(address, name, partitions, replicas, configs, timeout=60):
    """Creates a topic, or finds that an earlier try did."""
    settings = b"".join(_text(key) + _text(value) for key, value in configs.items())
    topic = _text(name) + struct.pack(">ihi", partitions, replicas, 0) + struct.pack(">i", len(configs)) + settings
    body = struct.pack(">i", 1) + topic + struct.pack(">i?", timeout * 1000, False)
    answer = _ask(address, CREATE_TOPICS, 2, body, timeout)
    answer.number(">i")  # throttle time
    answer.number(">i")  # one topic
    answer.text()
    code, text = answer.number(">h"), answer.text()
    if code not in (0, ALREADY_EXISTS):
        raise Refused(f"create topic {name}: error {code}: {text}")


def describe(address, topic, timeout=5):
    """What a broker says of a topic: {partition: (leader, isr)}; empty while it does not know the topic."""
    body = struct.pack(">i", 1) + _text(topic) + struct.pack(">?", False)
    answer = _ask(address, METADATA, 7, body, timeout)
    answer.number(">i")  # throttle time
    for _ in range(answer.number(">i")):
        answer.number(">i"), answer.text(), answer.number(">i"), answer.text()
    answer.text(), answer.number(">i")  # cluster id, controller
    found = {}
    for _ in range(answer.number(">i")):
        answer.number(">h"), answer.text(), answer.number(">?")
        for _ in range(answer.number(">i")):
            answer.number(">h")
            partition, leader, _epoch = (answer.number(">i") for _ in range(3))
            _replicas, isr, _offline = (answer.numbers() for _ in range(3))
            found[partition] = (leader, sorted(isr))
    return found
