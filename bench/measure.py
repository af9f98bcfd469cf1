"""The measurements: what is loaded onto a fresh cluster and what is read off. Kafka's own producer makes every load.

Knows nothing of how brokers are started; gives plain numbers by name.
"""

import os
import re
import signal
import statistics
import subprocess
import time

import wire
from cluster import BROKERS, CLIENTS, DATA, KAFKA, bootstrap, host, wait_for

RESULT = re.compile(
    r"(\d+)\D* records sent, ([\d.]+) records/sec .*?, ([\d.]+) ms avg latency, ([\d.]+) ms max latency, "
    r"(\d+) ms 50th, (\d+) ms 95th, (\d+) ms 99th"
)
# A producer that takes longer than this is ended and its run is void.
LONGEST_RUN = 180


class Producer:
    """One run of kafka-producer-perf-test. The first quarter of its records warms up client and brokers."""

    def __init__(self, topic, records, size, rate=-1, **properties):
        settings = {"acks": "all", **{name.replace("_", "."): value for name, value in properties.items()}}
        self.records = records
        self.process = subprocess.Popen(
            [KAFKA / "kafka-producer-perf-test", "--bootstrap-server", bootstrap(), "--topic", topic]
            + ["--num-records", str(records), "--warmup-records", str(records // 4)]
            + ["--record-size", str(size), "--throughput", str(rate)]
            + ["--command-property", *(f"{name}={value}" for name, value in settings.items())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def result(self):
        """What the tool says of the records after the warm-up."""
        try:
            output, _ = self.process.communicate(timeout=LONGEST_RUN)
        finally:
            self.process.kill()
        # Lines in between carry no percentiles. The last one is of the steady state, the one before of everything.
        found = RESULT.findall(output)
        if len(found) != 2 or self.process.returncode:
            raise RuntimeError(f"kafka-producer-perf-test ended with {self.process.returncode}:\n{output[-3000:]}")
        rate, average, longest, p50, p95, p99 = (float(field) for field in found[1][1:])
        return {
            "records/s": rate,
            "ms average": average,
            "ms p50": p50,
            "ms p95": p95,
            "ms p99": p99,
            "ms longest": longest,
            "records refused or lost": self.records - int(found[0][0]),
        }


def _produce(cluster, topic, records, size, **options):
    before = cluster.cpu_seconds()
    found = Producer(topic, records, size, **options).result()
    found["broker CPU s per million records"] = 1e6 * (cluster.cpu_seconds() - before) / records
    return found


def _warm_up(cluster):
    """Without it the first loads would measure how Kafka's brokers are compiled: that takes a million records."""
    cluster.create_topic("warm-up", 6, configs={})
    Producer("warm-up", 1_000_000, 1000).result()


def load(cluster):
    """Six partitions, three replicas, acks=all."""
    _warm_up(cluster)
    loads = {
        "1 KB records, batch 16 KiB": {"records": 400_000, "size": 1000},
        "1 KB records, batch 64 KiB": {"records": 600_000, "size": 1000, "batch_size": 65536},
        "100 B records, batch 16 KiB": {"records": 3_000_000, "size": 100},
        "1 KB records, 5,000/s, linger 0": {"records": 75_000, "size": 1000, "rate": 5000, "linger_ms": 0},
    }
    found = {"cluster": {"s from format to first topic": cluster.seconds_to_first_topic}}
    for number, (name, options) in enumerate(loads.items()):
        topic = f"load-{number}"
        cluster.create_topic(topic, 6)
        found[name] = _produce(cluster, topic, **options)
    found["after these loads"] = {
        "MB resident per broker": statistics.mean(cluster.memory_mb()),
        "% of a core, idle, three brokers": cluster.idle_cpu_percent(10),
    }
    return found


def partitions(cluster, count):
    """The same load over more partitions: one, a hundred, a thousand."""
    _warm_up(cluster)
    found = {"s to create, all ISRs full": cluster.create_topic("many", count)}
    full = _produce(cluster, "many", 300_000, 1000)
    steady = _produce(cluster, "many", 75_000, 1000, rate=5000, linger_ms=0)
    wanted = ("records/s", "broker CPU s per million records")
    found.update({f"full speed: {name}": full[name] for name in wanted})
    wanted = ("ms p50", "ms p95", "ms p99", "broker CPU s per million records")
    found.update({f"5,000/s, linger 0: {name}": steady[name] for name in wanted})
    found["MB resident per broker"] = statistics.mean(cluster.memory_mb())
    found["% of a core, idle, three brokers"] = cluster.idle_cpu_percent(10)
    return {f"{count} partitions": found}


def faults(cluster):
    """The leader of partition 0 is stopped, comes back, and then whoever leads it is killed, each under a steady load."""
    cluster.create_topic("faults", 6)
    stopped, broker = _lose_leader(cluster, signal.SIGTERM)
    cluster.await_end(broker, 60)
    cluster.start(broker)
    wait_for("the ISRs are whole again", 60, lambda: cluster.is_whole("faults", 6))
    killed, _ = _lose_leader(cluster, signal.SIGKILL)
    return {"SIGTERM of a leader": stopped, "kill -9 of a leader": killed}


def _lose_leader(cluster, number):
    producer = Producer("faults", 28_000, 1000, rate=1000)
    try:
        # Past the start of the JVM and the warm-up, and long before the end.
        time.sleep(11)
        leader, _ = wire.describe((host(1), CLIENTS), "faults")[0]
        survivors = [(host(broker), CLIENTS) for broker in BROKERS if broker != leader]
        began = time.monotonic()
        cluster.signal(leader, number)

        def shown_without_it():
            views = [wire.describe(survivor, "faults") for survivor in survivors]
            return all(view and all(leader not in isr for _, isr in view.values()) for view in views)

        wait_for("the ISRs without the lost broker", 30, shown_without_it)
        shown = time.monotonic() - began
        result = producer.result()
    finally:
        producer.process.kill()
    return {
        "s longest produce stall": result["ms longest"] / 1000,
        "s until all survivors show the ISR without it": shown,
        "records refused or lost": result["records refused or lost"],
    }, leader


def disk():
    """How this disk syncs just now: 4 KiB appended and synced, 200 times."""
    file, taken, block = DATA.parent / "probe", [], os.urandom(4096)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for _ in range(200):
        began = time.perf_counter()
        os.write(descriptor, block)
        os.fdatasync(descriptor)
        taken.append(1000 * (time.perf_counter() - began))
    os.close(descriptor)
    file.unlink()
    return {"ms p50": statistics.median(taken), "ms p99": statistics.quantiles(taken, n=100)[98]}


MEASUREMENTS = {
    "load": load,
    "faults": faults,
    "partitions-1": lambda cluster: partitions(cluster, 1),
    "partitions-100": lambda cluster: partitions(cluster, 100),
    "partitions-1000": lambda cluster: partitions(cluster, 1000),
}
