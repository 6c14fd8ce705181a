"""Several machines over Redis Streams. From outside only `backend/fleet.py` is imported."""
