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
    let mut profiles = Vec::new();
    for interface in config.interfaces() {
        match NicProfile::load(&interface.nic_profile) {
            Ok(profile) => profiles.push((interface.name.as_str(), profile)),
            Err(error) => return fail(&error.to_string()),
        }
    }
    if json {
        return print(&format!("{:#}\n", config.effective_json()));
    }
    let mut comments = String::new();
    for (interface, profile) in &profiles {
        let off = profile.off.iter().map(|o| o.name()).collect::<Vec<_>>().join(", ");
        let of = if profiles.len() > 1 { format!(" of {interface}") } else { String::new() };
        comments += &format!(
            "\n# NIC profile {}{of}: off must be {off}; rings of {} and {} descriptors\n# {}\n",
            profile.name,
            profile.rings.rx,
            profile.rings.tx,
            profile.notes.irq.replace('\n', " ")
        );
    }
    print(&(config.effective_toml() + &comments))
}
