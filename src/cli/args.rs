//! The arguments, and the help that teaches them.

use clap::{ArgAction, Parser, Subcommand};
use std::path::PathBuf;

/// An FTP gateway on raw packets: transparent FTP behind WCCP redirection.
#[derive(Debug, Parser)]
#[command(
    name = "tidegate",
    version,
    after_help = "Exit status: 0 done, 1 the work found a failure, 2 bad usage, configuration or input.\n\n\
                  Examples:\n  tidegate check --config tidegate.toml\n  tidegate run --config tidegate.toml"
)]
pub(super) struct Args {
    #[command(subcommand)]
    pub(super) command: Command,

    /// Write results as JSON (run: events, to standard output)
    #[arg(long, global = true)]
    pub(super) json: bool,

    /// Log more: -v commands and replies, -vv everything
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(super) verbose: u8,

    /// What to log, as `info` or `tidegate::session=debug,info`; overrides -v
    #[arg(long, global = true, value_name = "FILTER")]
    pub(super) log: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the gateway until SIGTERM (drain, then stop) or a second one (stop now)
    #[command(after_help = "Example:\n  tidegate run --config /etc/tidegate/tidegate.toml --log info")]
    Run {
        /// The configuration file
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Take the interface even if the host itself uses it (it loses its connections by it)
        #[arg(long)]
        force: bool,
        /// Record every turn into this new directory, to be replayed; it will hold passwords and files
        #[arg(long, value_name = "DIR")]
        record: Option<PathBuf>,
        /// End the recording when it is about this large, as 64MiB
        #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = size, requires = "record")]
        record_limit: u64,
    },
    /// Replay recordings and compare what comes out with what came out then
    #[command(after_help = "Example:\n  tidegate replay --verify pcaps/*/\n\n\
                            The last line is \"N passed, N failed\"; each failure names its first difference.")]
    Replay {
        /// The recordings' directories
        #[arg(long, value_name = "DIR", num_args = 1.., required = true)]
        verify: Vec<PathBuf>,
    },
    /// Validate a configuration and print it with all defaults filled in
    #[command(after_help = "Example:\n  tidegate check --config tidegate.toml --json | jq .timers")]
    Check {
        /// The configuration file
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
}

fn size(text: &str) -> Result<u64, String> {
    crate::config::parse_size(text)
        .filter(|n| *n > 0)
        .ok_or_else(|| "write bytes, or a number with KiB, MiB or GiB, as 64MiB".to_owned())
}
