//! `tidegate replay --verify`: does the gateway still do what it did?

use super::{BAD_INPUT, FOUND, fail, print};
use crate::record::Verdict;
use crate::runtime::replay;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;

pub(super) fn run(dirs: &[PathBuf], json: bool) -> ExitCode {
    let (mut passed, mut failed, mut unreadable) = (0, 0, false);
    let (mut text, mut list): (String, Vec<Value>) = Default::default();
    for dir in dirs {
        match replay::verify(dir) {
            Ok((case, verdict)) => {
                let (m, name) = (case.manifest(), case.name());
                let mut entry = json!({"case": name, "pins": m.pins, "turns": m.turns,
                    "frames_in": m.frames_in, "frames_out": m.frames_out, "events": m.events});
                match verdict {
                    Verdict::Same => {
                        passed += 1;
                        entry["result"] = json!("passed");
                        text += &format!(
                            "ok: {name}: {} turns, {} frames in, {} out, {} events\n",
                            m.turns, m.frames_in, m.frames_out, m.events
                        );
                    }
                    Verdict::Differs(difference) => {
                        failed += 1;
                        entry["result"] = json!("failed");
                        entry["difference"] = json!(difference);
                        text += &format!("case {name}: {difference}\n");
                    }
                }
                list.push(entry);
            }
            Err(error) => {
                failed += 1;
                unreadable = true;
                list.push(json!({"case": dir, "result": "unreadable",
                    "error": {"file": error.file, "what": error.what, "remedy": error.remedy}}));
                fail(&error.to_string());
            }
        }
    }
    let shown = if json {
        print(&format!("{:#}\n", json!({"passed": passed, "failed": failed, "cases": list})))
    } else {
        print(&format!("{text}{passed} passed, {failed} failed\n"))
    };
    match (unreadable, failed) {
        (true, _) => ExitCode::from(BAD_INPUT),
        (false, 0) => shown,
        (false, _) => ExitCode::from(FOUND),
    }
}
