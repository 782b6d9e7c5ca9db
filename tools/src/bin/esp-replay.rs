//! esp-replay
fn main() {}
