"""The parts behind backend/backpressure.py, the door; nothing else imports them."""
