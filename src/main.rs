//! The command `nsharness`.

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::var_os(nsharness::worker::PROGRAM_NAME).is_some() {
        nsharness::worker::print_credentials();
        return ExitCode::SUCCESS;
    }
    nsharness::cli::main().into()
}
