//! A control connection through the rules, in pieces that the input chooses.

pub fn body(_data: &[u8]) {}
