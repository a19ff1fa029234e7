//! The loop around an engine: receive, turn, send, and wait when there is nothing to do.

mod poll;

pub use poll::{Idle, Wish, Worker};
