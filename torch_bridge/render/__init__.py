"""Reports made visible; nothing is computed here."""
