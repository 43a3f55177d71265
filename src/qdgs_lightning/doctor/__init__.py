"""Doctor: findings about a run before it starts, from its configuration and its machine."""
