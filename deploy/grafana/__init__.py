"""
Grafana dashboards, generated: `python -m deploy.grafana` writes ``dashboards/*.json``, which `provisioning` loads.

`…_board` say what is shown, `promql` how it is asked, `panels` how a panel looks in Grafana's JSON. Edit those, and not
the JSON.
"""
