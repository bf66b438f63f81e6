"""Middleware around all routes: one plain ASGI layer per concern."""
