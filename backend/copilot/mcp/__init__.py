"""The MCP seam: one actor task a tool server, so that a dead one costs its tools only."""
