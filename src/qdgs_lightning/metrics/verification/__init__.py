"""Face verification: accuracy, error rates of groups, and their intervals."""
