"""ESP, an e-mail service platform."""
