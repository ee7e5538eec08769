//! Durable batch delivery, slices, renames and scans of Maildirs.
