"""What tests of every room share: stores, whole instances, Debian tools."""
