//! Starts and stops the gateway.

use super::preflight::{self, Refusals};
use crate::config::Config;
use std::path::PathBuf;
use std::process::ExitCode;

/// How to run, beyond the configuration.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// Directory to record into.
    pub record: Option<PathBuf>,
    /// Take an interface that the host itself uses.
    pub force: bool,
}

/// Why it did not run. The text is one line for each reason.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Something stands against starting.
    #[error(transparent)]
    Refused(#[from] Refusals),
}

/// Runs until a signal ends it.
///
/// # Errors
/// It could not start.
pub fn run(config: Config, options: RunOptions) -> Result<ExitCode, RunError> {
    for warning in preflight::check(&config, options.force)?.warnings {
        tracing::warn!("{}", super::events::human(&warning));
    }
    Ok(ExitCode::SUCCESS)
}
