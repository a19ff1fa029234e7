//! FTP's rules for a connection that is edited in flight: what each line means, and what becomes of it.

mod doors;
mod settings;

pub use doors::{Doors, NoDoor, Transfer, Why};
pub use settings::{Ccc, Ends, Ftps, Profile, Settings};
