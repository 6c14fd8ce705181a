"""The embedded host: the whole plugin with neither ComfyUI nor Copilot (`python -m backend`)."""
