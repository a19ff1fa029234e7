//! The configuration file: read, checked and shown.
//!
//! [`load`] reads a file into a [`Config`] that holds checked values only, or says everything that is wrong
//! with it, each with file, line, key and remedy. What names something not built yet is wrong too: nothing
//! in a file is silently ignored. [`Config::effective_toml`] shows the result with all defaults.

mod check;
mod checked;
mod effective;
mod error;
mod raw;
mod reader;
mod units;
mod upstream;

pub use checked::{
    Assignment, Ccc, ClientMode, Config, DataRule, DataSource, Deployment, Driver, EventTarget, Firewall,
    FirewallRule, Ftps, Group, GroupRole, Idle, Inspected, Interface, IpProtocol, Limits, Masquerade, Method,
    Mode, MssClamp, Nat, Network, NicProfileName, OverLimit, Password, PortForward, Profile, Route,
    RuleAction, ServerMode, Service, Side, StaticNat, Timers, UpstreamSource, Wccp, WorkerSettings,
};
pub use error::{ConfigError, ConfigErrors};
pub use units::{Cidr, parse_size};

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// Configuration files are a page or two; more is a wrong path.
const MAX_BYTES: u64 = 1 << 20;

/// Reads and checks a configuration file.
///
/// # Errors
/// Everything that is wrong, in the order of the file; also if it cannot be read.
pub fn load(file: &Path) -> Result<Config, ConfigErrors> {
    let unreadable = |what: String| {
        ConfigErrors(vec![ConfigError {
            file: file.to_owned(),
            line: 0,
            column: 0,
            key: String::new(),
            what,
            remedy: "give --config the path of a configuration file".to_owned(),
        }])
    };
    let mut bytes = Vec::new();
    File::open(file)
        .and_then(|f| f.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|e| unreadable(format!("cannot be read: {e}")))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(unreadable(format!("is larger than {MAX_BYTES} bytes")));
    }
    let text = String::from_utf8(bytes).map_err(|_| unreadable("is not UTF-8 text".to_owned()))?;
    parse(&text, file)
}

/// Checks a configuration given as text. `file` is its name in messages, and relative paths in it start at
/// its directory; of the files it names only `wccp.password_file` is read.
///
/// # Errors
/// Everything that is wrong, in the order of the text.
pub fn parse(text: &str, file: &Path) -> Result<Config, ConfigErrors> {
    let source = reader::Source::new(file, text);
    let config = check::check(&source, raw::read(&source));
    match (config, source.into_errors()) {
        (Some(config), errors) if errors.is_empty() => Ok(config),
        (_, errors) => Err(ConfigErrors(errors)),
    }
}
