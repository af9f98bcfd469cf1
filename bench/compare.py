#!/usr/bin/env -S python3 -B
"""Side by side: Apache Kafka and Chronik on this machine, alternating, one cluster at a time.

    bench/compare.py run [--rounds 3] [--parts load,faults] [--systems chronik,kafka]   measure; a JSON file for each run
    bench/compare.py report                                                             medians of all files, as a table

Needs `cargo build --release -p chronik-broker` and `make kafka-tools`. `make bench` does all of it.
"""

import argparse
import json
import os
import platform
import statistics
import time

from cluster import DATA, SYSTEMS
from measure import MEASUREMENTS, disk

RESULTS = DATA.parent / "results"
KAFKA_ONLY_WITHOUT_SYNC = ("faults",)


def run(rounds, parts, systems):
    RESULTS.mkdir(parents=True, exist_ok=True)
    for _ in range(rounds):
        for part in parts:
            for system in systems:
                if system == "kafka-fsync" and part in KAFKA_ONLY_WITHOUT_SYNC:
                    continue  # who syncs when makes no difference to who leads
                run_once(part, system)


def run_once(part, system):
    began = time.time()
    print(f"==> {part}, {system}", flush=True)
    with SYSTEMS[system]() as cluster:
        synced = disk()
        found = MEASUREMENTS[part](cluster)
    record = {
        "part": part,
        "system": system,
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began)),
        "machine": {"cores": os.cpu_count(), "kernel": platform.release(), "load average": os.getloadavg()[0]},
        "4 KiB append and fdatasync": synced,
        "found": found,
    }
    name = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(began))}-{part}-{system}.json"
    (RESULTS / name).write_text(json.dumps(record, indent=2) + "\n")
    print(f"    took {time.time() - began:.0f} s", flush=True)


def report():
    runs = [json.loads(file.read_text()) for file in sorted(RESULTS.glob("*.json"))]
    table = {}
    for record in runs:
        for load, numbers in record["found"].items():
            for name, value in numbers.items():
                cell = table.setdefault((record["part"], load, name), {}).setdefault(record["system"], [])
                cell.append(value)
    systems = list(SYSTEMS)
    print("Median (least to most, runs); the ratio is Chronik's median over Kafka's.\n")
    before = None
    for (part, load, name), cells in table.items():
        if load != before:
            before = load
            print(f"\n**{load}**\n")
            print("| |" + "".join(f" {system} |" for system in systems) + " ratio to kafka | to kafka-fsync |")
            print("|---" * (len(systems) + 3) + "|")
        shown = [show(cells.get(system)) for system in systems]
        ratios = [ratio(cells, system) for system in systems[1:]]
        print(f"| {name} | " + " | ".join(shown + ratios) + " |")
    synced = [record["4 KiB append and fdatasync"]["ms p50"] for record in runs]
    if synced:
        print(f"\nThis disk, 4 KiB appended and synced, p50 over the runs: {min(synced):.2f} to {max(synced):.2f} ms.")


def show(values):
    if not values:
        return "–"
    middle = figure(statistics.median(values))
    if len(values) == 1:
        return f"{middle} (1 run)"
    return f"{middle} ({figure(min(values))} to {figure(max(values))}, {len(values)})"


def figure(value):
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def ratio(cells, system):
    ours, theirs = cells.get("chronik"), cells.get(system)
    if not ours or not theirs or not statistics.median(theirs):
        return "–"
    return f"{statistics.median(ours) / statistics.median(theirs):.2f}"


def names(text, allowed):
    chosen = text.split(",")
    for name in chosen:
        if name not in allowed:
            raise argparse.ArgumentTypeError(f"{name}: allowed are {', '.join(allowed)}")
    return chosen


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = arguments.add_subparsers(dest="command", required=True)
    measured = commands.add_parser("run", help="measure")
    measured.add_argument("--rounds", type=int, default=3)
    measured.add_argument("--parts", type=lambda text: names(text, MEASUREMENTS), default=list(MEASUREMENTS))
    measured.add_argument("--systems", type=lambda text: names(text, SYSTEMS), default=list(SYSTEMS))
    commands.add_parser("report", help="print what was measured")
    chosen = arguments.parse_args()
    if chosen.command == "run":
        run(chosen.rounds, chosen.parts, chosen.systems)
    else:
        report()


if __name__ == "__main__":
    main()
