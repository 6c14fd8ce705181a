"""Everything that knows ComfyUI-Copilot or openai-agents; nothing outside this folder does."""
