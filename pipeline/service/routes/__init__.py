"""The routes, one router per concern. All routes outside `OPEN_ROUTES` require the token."""
