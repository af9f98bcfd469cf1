#!/usr/bin/env python3
"""What many idle partitions cost, and what becomes of them when a broker dies and when all start again.

    bench/idle.py PARTITIONS [SECONDS]
"""

import signal
import sys
import time
import urllib.request

import wire
from cluster import ADMIN, BROKERS, CLIENTS, Chronik, host, wait_for
from measure import Producer

# Partitions of one topic, so that no answer is longer than Kafka's tools take.
PER_TOPIC = 1_000
# Whatever takes longer is not waited for.
PATIENCE = 170


def metric(broker, name):
    """A metric's value, summed over its labels."""
    with urllib.request.urlopen(f"http://{host(broker)}:{ADMIN}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith((name + " ", name + "{")))


def total(name):
    return sum(metric(broker, name) for broker in BROKERS)


def topics(partitions):
    whole, rest = divmod(partitions, PER_TOPIC)
    return [(f"idle-{number}", PER_TOPIC) for number in range(whole)] + ([("idle-rest", rest)] if rest else [])


def await_whole(cluster, wanted):
    """Seconds until every broker names a leader and a full ISR of every partition."""
    began = time.monotonic()
    for name, count in wanted:
        wait_for(f"leaders and ISRs of {name}", PATIENCE, lambda: cluster.is_whole(name, count))
    return time.monotonic() - began


def await_rest(replicas):
    """Seconds until all replicas rest."""
    began = time.monotonic()
    wait_for("all partitions rest", PATIENCE, lambda: total("chronik_quiet_replicas") >= replicas)
    return time.monotonic() - began


def idle(cluster, seconds):
    """CPU in percent of a core, memory, and Raft messages for partitions, while nobody asks for anything."""
    messages = partition_messages()
    percent = cluster.idle_cpu_percent(seconds)
    messages = partition_messages() - messages
    memory = cluster.memory_mb()
    print(
        f"idle for {seconds} s: {percent:.2f} % of a core for three brokers, {max(memory):.0f} MB in the largest, "
        f"{messages:.0f} Raft messages for partitions"
    )


def partition_messages():
    return total('chronik_raft_messages_sent_total{group="partitions"}')


def leaders(wanted):
    """How many partitions each broker leads, as the first one says."""
    led = {}
    for name, _ in wanted:
        for leader, _ in wire.describe((host(1), CLIENTS), name).values():
            led[leader] = led.get(leader, 0) + 1
    return dict(sorted(led.items()))


def kill(cluster, wanted):
    """Seconds until all survivors show the ISR of every partition without a broker that was killed, and the longest time
    that a record took meanwhile: 1,000 a second go in turn to all partitions of the first topic."""
    victim, survivors = BROKERS[-1], BROKERS[:-1]
    in_turn = "org.apache.kafka.clients.producer.RoundRobinPartitioner"
    producer = Producer(wanted[0][0], 28_000, 100, rate=1000, linger_ms=0, partitioner_class=in_turn)
    # Past the start of the JVM and the warm-up, and long before the end.
    time.sleep(12)
    began = time.monotonic()
    cluster.signal(victim, signal.SIGKILL)
    cluster.processes.pop(victim)

    def shown():
        views = [wire.describe((host(survivor), CLIENTS), name) for survivor in survivors for name, _ in wanted]
        return all(leader > 0 and victim not in isr for view in views for leader, isr in view.values())

    wait_for("ISRs without the dead broker", PATIENCE, shown)
    shown_after, found = time.monotonic() - began, producer.result()
    print(
        f"broker {victim} killed: every survivor shows all ISRs and leaders after {shown_after:.2f} s; longest produce stall "
        f"{found['ms longest'] / 1000:.2f} s, {found['records refused or lost']} records refused or lost"
    )
    return victim


def start_again(cluster, wanted):
    for broker in list(cluster.processes):
        cluster.signal(broker, signal.SIGKILL)
    began = time.monotonic()
    for broker in BROKERS:
        cluster.start(broker)
    await_whole(cluster, wanted)
    print(f"all three killed and started: everything is whole after {time.monotonic() - began:.1f} s")


def main():
    partitions = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000
    seconds = int(sys.argv[2]) if len(sys.argv) > 2 else 60
    wanted, replicas = topics(partitions), len(BROKERS) * (partitions + 6)
    with Chronik() as cluster:
        began = time.monotonic()
        for name, count in wanted:
            cluster.create_topic(name, count)
        print(f"{partitions} partitions with 3 replicas, created in {time.monotonic() - began:.1f} s")
        print(f"all rest {await_rest(replicas):.1f} s later")
        idle(cluster, seconds)
        victim = kill(cluster, wanted)
        cluster.start(victim)
        print(f"back in all ISRs {await_whole(cluster, wanted):.1f} s after its start")
        start_again(cluster, wanted)
        print(f"all rest {await_rest(replicas):.1f} s later; partitions led by each: {leaders(wanted)}")
        idle(cluster, seconds)


if __name__ == "__main__":
    main()
