#!/usr/bin/env python3
"""Draws the panels of charts/chronik/files/dashboard.json from a running Prometheus, to look at without Grafana.

dashboard.py PROMETHEUS_URL NAMESPACE CLUSTER MINUTES OUT.png. Needs matplotlib. Names the queries that give nothing.
"""
import json, pathlib, re, sys, time, urllib.parse, urllib.request

import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt

DASHBOARD = pathlib.Path(__file__).parent.parent / "charts/chronik/files/dashboard.json"
STEP = 5


def query(url, expression, minutes):
    now = time.time()
    asked = {"query": expression, "start": now - 60 * minutes, "end": now, "step": STEP}
    with urllib.request.urlopen(f"{url}/api/v1/query_range?{urllib.parse.urlencode(asked)}") as answer:
        return json.load(answer)["data"]["result"]


def legend(form, labels):
    return re.sub(r"{{(\w+)}}", lambda found: labels.get(found.group(1), ""), form)


def draw(axes, panel, fill, url, minutes):
    """Gives the queries without an answer."""
    empty = []
    axes.set_title(f"{panel['title']} [{panel['fieldConfig']['defaults'].get('unit', '')}]", fontsize=7)
    axes.tick_params(labelsize=5)
    for target in panel["targets"]:
        expression = target["expr"]
        for variable, value in fill.items():
            expression = expression.replace(variable, value)
        series = query(url, expression, minutes)
        if not series:
            empty.append(f"{panel['title']}: {expression}")
        for one in series:
            points = [(float(at), float(value)) for at, value in one["values"]]
            name = legend(target["legendFormat"], one["metric"])
            if panel["type"] == "stat":
                axes.text(0.5, 0.5, f"{points[-1][1]:g} {name}", ha="center", transform=axes.transAxes)
            else:
                axes.plot([at - time.time() for at, _ in points], [value for _, value in points], lw=0.8, label=name)
    if panel["type"] == "stat":
        axes.set_axis_off()
    else:
        axes.set_ylim(bottom=0)
        if axes.lines:
            axes.legend(fontsize=4, loc="upper left")
    return empty


def main():
    url, namespace, cluster, minutes, out = sys.argv[1:]
    fill = {"$namespace": namespace, "$cluster": cluster, "$__rate_interval": "20s"}
    panels = [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]
    bottom = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    figure = plt.figure(figsize=(18, bottom / 3))
    empty = []
    for panel in panels:
        at = panel["gridPos"]
        box = [(at["x"] + 0.6) / 24, 1 - (at["y"] + at["h"] - 0.5) / bottom, (at["w"] - 1) / 24, (at["h"] - 1.6) / bottom]
        empty += draw(figure.add_axes(box), panel, fill, url, int(minutes))
    figure.savefig(out, dpi=110)
    print(f"{len(panels)} panels in {out}; {len(empty)} queries give nothing", *empty, sep="\n  ")


if __name__ == "__main__":
    main()
