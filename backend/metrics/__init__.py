"""The parts of the monitor: histograms, counters, rings, the layers, health, the loop's watch, the exposition.

Nothing here knows aiohttp, ComfyUI or Copilot. `backend/monitoring.py` is the front that puts them together.
"""
