"""Our HTTP routes: metrics, health, the panel's data, diagnostics."""
