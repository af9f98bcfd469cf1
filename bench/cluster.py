"""Three brokers of Kafka or of Chronik on loopback addresses of their own: format, start, signal, count, stop.

Ends processes by the pids it started, and no others. Data lies in target/bench/data.
"""

import functools
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import wire

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "target/bench/data"
KAFKA = ROOT / "target/kafka/bin"
CHRONIK = ROOT / "target/release/chronik-broker"

BROKERS = (1, 2, 3)
CLIENTS, PEERS, ADMIN = 9092, 9093, 9095
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def host(broker):
    return f"127.0.77.{broker}"


def bootstrap():
    return ",".join(f"{host(broker)}:{CLIENTS}" for broker in BROKERS)


def wait_for(what, seconds, condition):
    """Asks until the condition gives something true; a connection or an answer that fails counts as not yet."""
    end, failure = time.monotonic() + seconds, "it is not so"
    while time.monotonic() < end:
        try:
            if found := condition():
                return found
        except (OSError, wire.Refused) as error:
            failure = error
        time.sleep(0.02)
    raise TimeoutError(f"{what}: not within {seconds} s: {failure}; the brokers' logs are in {DATA}")


class Cluster:
    """Start it with `with`: whatever happens, its processes end. After an error its data and logs stay for a look."""

    topic_configs = {}

    def __init__(self):
        self.processes = {}

    def __enter__(self):
        for broker in BROKERS:
            for port in (CLIENTS, PEERS, ADMIN):
                with socket.socket() as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    try:
                        probe.bind((host(broker), port))
                    except OSError as error:
                        raise SystemExit(f"bench: {host(broker)}:{port} is taken ({error}): nothing was started")
        shutil.rmtree(DATA, ignore_errors=True)
        DATA.mkdir(parents=True)
        # What an earlier run left in the page cache is not this run's load.
        os.sync()
        began = time.monotonic()
        try:
            self.format()
            for broker in BROKERS:
                self.start(broker)
            self.create_topic("first", 6)
        except BaseException as error:
            self.__exit__(error)
            raise
        self.seconds_to_first_topic = round(time.monotonic() - began, 2)
        return self

    def __exit__(self, error, *_):
        for process in self.processes.values():
            process.kill()
            process.wait()
        if error is None:
            shutil.rmtree(DATA, ignore_errors=True)

    def start(self, broker):
        log = open(DATA / f"{broker}.log", "ab")
        self.processes[broker] = subprocess.Popen(
            self.command(broker), env=self.environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )

    def signal(self, broker, number):
        self.processes[broker].send_signal(number)
        if number == signal.SIGKILL:
            self.processes[broker].wait()

    def await_end(self, broker, seconds):
        self.processes[broker].wait(seconds)

    def create_topic(self, name, partitions, replicas=3, configs=None):
        """Gives the seconds until every broker names a leader and a full ISR of each partition."""
        began, address = time.monotonic(), (host(1), CLIENTS)
        configs = self.topic_configs if configs is None else configs
        create = functools.partial(wire.create_topic, address, name, partitions, replicas, configs)
        wait_for(f"create topic {name}", 60, lambda: create() or True)
        wait_for(f"leaders and ISRs of {name}", 60, lambda: self.is_whole(name, partitions, replicas))
        return round(time.monotonic() - began, 2)

    def is_whole(self, topic, partitions, replicas=3):
        for broker in BROKERS:
            found = wire.describe((host(broker), CLIENTS), topic)
            if len(found) < partitions or any(leader < 0 or len(isr) < replicas for leader, isr in found.values()):
                return False
        return True

    def cpu_seconds(self):
        """User and system time of the living brokers since they started."""
        total = 0
        for process in self.processes.values():
            fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
        return total / TICKS_PER_SECOND

    def memory_mb(self):
        """Resident memory of each broker."""
        found = []
        for process in self.processes.values():
            status = Path(f"/proc/{process.pid}/status").read_text()
            (line,) = [line for line in status.splitlines() if line.startswith("VmRSS")]
            found.append(int(line.split()[1]) / 1024)
        return found

    def idle_cpu_percent(self, seconds):
        """Percent of one core that the three brokers use together while nobody asks anything of them."""
        time.sleep(3)
        before, began = self.cpu_seconds(), time.monotonic()
        time.sleep(seconds)
        return 100 * (self.cpu_seconds() - before) / (time.monotonic() - began)


class Chronik(Cluster):
    name = "chronik"

    def format(self):
        voters = ",".join(f"{broker}@{host(broker)}:{PEERS}" for broker in BROKERS)
        for broker in BROKERS:
            subprocess.run(
                [CHRONIK, "format", "--data-dir", DATA / str(broker), "--cluster-id", "bench"]
                + ["--broker-id", str(broker), "--initial-voters", voters],
                check=True,
                capture_output=True,
            )

    def command(self, broker):
        return [
            CHRONIK, "run", "--data-dir", DATA / str(broker), "--min-insync-replicas", "2",
            "--listener", f"PLAINTEXT={host(broker)}:{CLIENTS}",
            "--peer-listener", f"{host(broker)}:{PEERS}", "--admin-listener", f"{host(broker)}:{ADMIN}",
        ]  # fmt: skip

    def environment(self):
        return os.environ


class Kafka(Cluster):
    name = "kafka"

    def format(self):
        voters = ",".join(f"{broker}@{host(broker)}:{PEERS}" for broker in BROKERS)
        formats = []
        for broker in BROKERS:
            properties = {
                "process.roles": "broker,controller",
                "node.id": broker,
                "controller.quorum.voters": voters,
                "listeners": f"PLAINTEXT://{host(broker)}:{CLIENTS},CONTROLLER://{host(broker)}:{PEERS}",
                "advertised.listeners": f"PLAINTEXT://{host(broker)}:{CLIENTS}",
                "controller.listener.names": "CONTROLLER",
                "inter.broker.listener.name": "PLAINTEXT",
                "log.dirs": DATA / str(broker),
                "min.insync.replicas": 2,
                "auto.create.topics.enable": "false",
            }
            file = DATA / f"{broker}.properties"
            file.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
            formats.append(
                subprocess.Popen(
                    [KAFKA / "kafka-storage", "format", "-t", "YmVuY2htYXJrLWtyYWZ0LQ", "-c", file],
                    stdout=subprocess.DEVNULL,
                )
            )
        if any([process.wait() for process in formats]):
            raise RuntimeError("kafka-storage format failed")

    def command(self, broker):
        return [KAFKA / "kafka-server-start", DATA / f"{broker}.properties"]

    def environment(self):
        return {**os.environ, "KAFKA_HEAP_OPTS": "-Xms1G -Xmx1G"}


class KafkaWithSync(Kafka):
    """Kafka that syncs before it acknowledges, as Chronik always does."""

    name = "kafka-fsync"
    topic_configs = {"flush.messages": "1"}


SYSTEMS = {system.name: system for system in (Chronik, Kafka, KafkaWithSync)}
