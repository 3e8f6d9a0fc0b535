//! The `linkgate` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    linkgate::cli::run()
}
