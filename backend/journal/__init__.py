"""The parts behind `store.py`: rows, segments, the thread that writes, readers, projections."""
