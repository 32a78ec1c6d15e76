"""What lies between auflow's metrics and whoever watches it: dashboards, rules, alerts, and what checks them.

`python -m auflow.grafana.build` writes the dashboards and the table of metrics; `python -m auflow.grafana.check_live`
evaluates every expression against a running Prometheus. Not used by auflow itself.
"""

__all__ = ["GRAFANA"]

GRAFANA = "11.6.14"  # that the dashboards are made for: the builders' version and the image in deploy/compose.yaml
