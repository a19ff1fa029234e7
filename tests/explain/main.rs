//! `tidegate explain`: captures made in code, the project's own recordings, and hostile ones.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test that cannot go on has failed")]

mod causes;
mod ccc;
mod forms;
mod healthy;
mod hostile;
mod program;
mod tape;
