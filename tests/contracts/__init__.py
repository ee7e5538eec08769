"""One suite for a fake and for what it stands for."""
