//! `tidegate check`: is this configuration good, and what does it mean?

use super::{fail, print};
use crate::config::{self, ConfigErrors};
use crate::runtime::nic::NicProfile;
use serde_json::json;
use std::path::Path;
use std::process::ExitCode;

pub(super) fn run(file: &Path, json: bool) -> ExitCode {
    let config = match config::load(file) {
        Ok(config) => config,
        Err(ConfigErrors(errors)) => {
            if json {
                let list: Vec<_> = errors
                    .iter()
                    .map(|e| {
                        json!({"file": e.file, "line": e.line, "column": e.column, "key": e.key,
                               "what": e.what, "remedy": e.remedy})
                    })
                    .collect();
                print(&format!("{:#}\n", json!({ "errors": list })));
            }
            return fail(&ConfigErrors(errors).to_string());
        }
    };
    if let Err(error) = NicProfile::load(&config.interface.nic_profile) {
        return fail(&error.to_string());
    }
    if json { print(&format!("{:#}\n", config.effective_json())) } else { print(&config.effective_toml()) }
}
