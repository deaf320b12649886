//! The command `nsharness`.

use std::process::ExitCode;

fn main() -> ExitCode {
    if nsharness::target::guest::agent::is_agent() {
        nsharness::target::guest::agent::run();
    }
    if std::env::var_os(nsharness::worker::PROGRAM_NAME).is_some() {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        return nsharness::worker::run_program(&arguments).into();
    }
    nsharness::cli::main().into()
}
