"""Websocket connections, and what is done with their messages."""
