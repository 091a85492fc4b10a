"""The service: a page for people and an API for programs."""
