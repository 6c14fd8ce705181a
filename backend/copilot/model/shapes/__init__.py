"""What servers send, in the one shape that the agent library reads: `sse.py` reads it, `normalise.py` leads."""
