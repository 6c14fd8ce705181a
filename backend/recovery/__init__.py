"""The parts of error recovery; `backend.error_handling` is the front that other code imports from."""
