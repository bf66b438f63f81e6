"""The routes, a router for each concern. What is not in `OPEN_ROUTES` requires the token."""
