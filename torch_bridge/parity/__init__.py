"""One way through: record -> trace <- replay; trace, trace -> compare -> report."""
