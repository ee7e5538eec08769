"""Everything said about messages, and who may read them. All SQL is in this package."""
