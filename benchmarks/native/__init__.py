"""What the functions of the Rust extension cost, one by one: `pytest benchmarks/native`."""
