"""The parts behind backend/event_bus.py, the door; nothing else imports them."""
