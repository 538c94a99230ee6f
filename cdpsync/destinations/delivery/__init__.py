"""Delivery: an outbox, sent as HTTP requests, with a journal of the answers."""
