"""What ESP decides and does; the doors call in here, storage is called from here."""
