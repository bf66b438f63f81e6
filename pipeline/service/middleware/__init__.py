"""What lies around all routes, a layer for each concern, as plain ASGI."""
