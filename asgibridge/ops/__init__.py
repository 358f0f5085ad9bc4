"""What operators look at: logs and stacks."""
