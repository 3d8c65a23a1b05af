"""Speaking to Redis: where it is, and a connection that comes back by itself."""
