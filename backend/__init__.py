"""Copilot Pulse's backend. See docs/architecture.md for what stands on what."""
