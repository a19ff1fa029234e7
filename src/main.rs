<<<<<<< HEAD
//! The `tidegate` program.

fn main() -> std::process::ExitCode {
    tidegate::cli::main()
}
=======
fn main() {}
>>>>>>> 513df9f (wccp-router: forward between packet legs and redirect by WCCPv2)
