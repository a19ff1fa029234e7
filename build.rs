//! Compiles the XDP program.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a build script talks to cargo this way")]

use std::path::PathBuf;
use std::process::{Command, exit};

const SOURCE: &str = "bpf/tidegate_xdp.c";

fn main() {
    println!("cargo::rerun-if-changed={SOURCE}");
    println!("cargo::rerun-if-env-changed=CLANG");
    let clang = std::env::var("CLANG").unwrap_or_else(|_| "clang".into());
    let object = match std::env::var_os("OUT_DIR") {
        Some(dir) => PathBuf::from(dir).join("tidegate_xdp.o"),
        None => fail("OUT_DIR is not set: this script is run by cargo"),
    };
    let run = Command::new(&clang)
        .args(["-target", "bpf", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-c", SOURCE, "-o"])
        .arg(&object)
        .status();
    match run {
        Ok(status) if status.success() => {}
        Ok(status) => fail(&format!("{clang} could not compile {SOURCE} ({status}); its messages are above")),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => fail(&format!(
            "{clang} is missing, it compiles the XDP program {SOURCE}: apt-get install clang (or set CLANG to its path)"
        )),
        Err(e) => fail(&format!("{clang} could not be started: {e}")),
    }
}

fn fail(what: &str) -> ! {
    println!("cargo::error={what}");
    exit(1)
}
