"""Before the first step: differences of recipe, data and environment, each in one sentence with its remedy."""
