//! The lab router.
fn main() {}
