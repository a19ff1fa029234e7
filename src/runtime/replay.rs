//! From a recorded case to an engine like the one that was recorded, and its replay.

use super::settings;
use crate::config;
use crate::io::PortInfo;
use crate::record::{self, Case, CaseError, Verdict};
use std::path::Path;

/// Replays the case in a directory and compares: frames, events, counters.
///
/// # Errors
/// The case cannot be read, or was recorded in a way that is not known here.
pub fn verify(dir: &Path) -> Result<(Case, Verdict), CaseError> {
    let case = Case::open(dir)?;
    let (text, file) = case.config();
    let error = |what: String| CaseError {
        file: file.clone(),
        what,
        remedy: "replay it with the tidegate that recorded it, or record it again".to_owned(),
    };
    let config = config::parse(text, &file).map_err(|e| error(e.to_string().replace('\n', ", ")))?;
    let seed = config.worker.seed.ok_or_else(|| error("has no worker.seed".to_owned()))?;
    let ports = case.manifest().interface.iter().map(|port| PortInfo {
        name: port.name.clone(),
        driver: "replay",
        // The case was checked when it was opened.
        mac: port.mac().unwrap_or_default(),
        mtu: port.mtu,
        attach: None,
        zero_copy: false,
    });
    let ports: Vec<PortInfo> = ports.collect();
    let mut engine = settings::build(&config, &ports, seed).map_err(|e| error(e.to_string()))?;
    let verdict = record::verify(&case, &mut engine)?;
    Ok((case, verdict))
}
