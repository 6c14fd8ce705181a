"""The figures for Prometheus: `collector.py` reads the monitor; the others what their part's `statistics()` say."""
