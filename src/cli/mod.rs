//! The command line. Data goes to stdout, words to stderr; `--json` gives data in one machine-readable form.
//!
//! | exit code | meaning |
//! | ---: | --- |
//! | 0 | done; for `inspect`, `check`, `healthcheck`: all is well |
//! | 1 | it did not work; stderr says why |
//! | 2 | the command line or the configuration is wrong |
//! | 3 | `inspect`: the link is not valid |

mod api;
mod check;
mod clients;
mod keys;
mod links;
mod output;
mod revocations;
mod serve;
mod store;
mod verifiers;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use self::output::Output;
use crate::config::{Config, ConfigError, Overrides};
use crate::http::openapi;
use crate::process;
use crate::telemetry::{self, say};

/// Expiring, revocable download links for files that stay hidden behind the edge.
///
/// Start with `linkgate serve --media DIR`: it makes keys and a store, and prints a working link.
#[derive(Parser)]
#[command(name = "linkgate", version, propagate_version = true, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Args, Clone)]
pub struct Common {
    /// Configuration file; `linkgate.toml` in the working directory is used if it is there.
    #[arg(long, global = true, value_name = "FILE", env = "LINKGATE_CONFIG")]
    config: Option<PathBuf>,
    /// Data folder: keys, clients and the embedded store. Overrides `data_dir`.
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
}

/// Where a running Linkgate is, for commands that can work with one.
#[derive(Args, Clone, Default)]
pub struct Server {
    /// API of a running Linkgate, such as http://127.0.0.1:8081; the API key is taken from LINKGATE_API_KEY.
    #[arg(long, value_name = "URL", env = "LINKGATE_SERVER")]
    server: Option<String>,
    /// Send the API key to a distant server over http:// too, where everybody on the way can read it: for networks that
    /// encrypt by themselves.
    #[arg(long, env = "LINKGATE_PLAIN_HTTP", value_parser = switch)]
    plain_http: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Run Linkgate.
    Serve(serve::Serve),
    /// Make a link, with the key file or through a server.
    Mint(links::Mint),
    /// Say what a link holds and how it would be judged now.
    Inspect(links::Inspect),
    /// Take links back: one, a subject's, a file's, a folder's, a client's, a key's, or all.
    Revoke(Box<revocations::Revoke>),
    /// Lift a revocation.
    Reinstate(revocations::Reinstate),
    /// List revocations, newest first.
    Revocations(revocations::Revocations),
    /// Show the fleet: every verifier, and how far it has come.
    Verifiers(verifiers::Verifiers),
    /// Make, list, activate and retire keys.
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Add, list, rotate and remove API clients.
    #[command(subcommand)]
    Clients(clients::Clients),
    /// Look after the revocation store.
    #[command(subcommand)]
    Store(store::Store),
    /// Check the configuration, the keys, the media and the store; every error at once.
    Check(check::Check),
    /// Ask a running Linkgate whether it is ready; for container health checks.
    Healthcheck(check::Healthcheck),
    /// Print the description of the HTTP API (OpenAPI 3.1, JSON).
    Openapi,
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Why a command did not do its work.
pub enum Failure {
    /// The configuration is wrong: exit code 2.
    Configuration(Vec<ConfigError>),
    /// Something else: exit code 1.
    Other(anyhow::Error),
    /// An answer that is not a yes, already printed.
    Answer(u8),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

/// What every command returns.
pub type Outcome = Result<(), Failure>;

impl Common {
    fn overrides(&self) -> Overrides {
        Overrides { data_dir: self.data_dir.clone(), ..Overrides::default() }
    }

    /// Reads the configuration.
    fn load(&self, overrides: &Overrides) -> Result<Config, Failure> {
        Config::load(self.config.as_deref(), std::env::vars_os(), overrides).map_err(Failure::Configuration)
    }

    fn load_quietly(&self) -> Result<Config, Failure> {
        let config = self.load(&self.overrides())?.for_one_command();
        telemetry::init(telemetry::LogConfig { level: tracing::Level::ERROR, ..config.log });
        Ok(config)
    }

    const fn output(&self) -> Output {
        Output { json: self.json }
    }
}

/// Reads what a variable says that switches something on; empty is off.
fn switch(text: &str) -> Result<bool, &'static str> {
    match text.trim().to_ascii_lowercase().as_str() {
        "" | "0" | "false" | "no" | "off" => Ok(false),
        "1" | "true" | "yes" | "on" => Ok(true),
        _ => Err("expected true or false"),
    }
}

fn is_switched_on(variable: &str) -> bool {
    std::env::var(variable).is_ok_and(|text| switch(&text) == Ok(true))
}

/// Reads the command line; leaves with help or an error where that is what it comes to.
fn parse() -> Cli {
    let mut command = takes_any_value(Cli::command());
    let matches = command.get_matches_mut();
    Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.format(&mut command).exit())
}

/// Lets every option that has a value take the next word for it, however that begins: ids, subjects and files may begin
/// with a hyphen.
fn takes_any_value(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|arg| {
        let is_option = arg.get_long().is_some() && arg.get_action().takes_values();
        if is_option { arg.allow_hyphen_values(true) } else { arg }
    });
    command.mut_subcommands(takes_any_value)
}

/// Runs the command that the process was started with.
pub fn run() -> ExitCode {
    process::install_crypto();
    let Cli { common, command } = parse();
    if !is_switched_on(process::ALLOW_CORE_DUMPS)
        && let Err(error) = process::shut_memory()
    {
        say(&format!("warning: a core file of this process would hold its keys, and cannot be prevented: {error}"));
    }
    let outcome = match command {
        Command::Serve(serve) => serve.run(&common),
        Command::Mint(mint) => mint.run(&common),
        Command::Inspect(inspect) => inspect.run(&common),
        Command::Revoke(revoke) => revoke.run(&common),
        Command::Reinstate(reinstate) => reinstate.run(&common),
        Command::Revocations(revocations) => revocations.run(&common),
        Command::Verifiers(verifiers) => verifiers.run(&common),
        Command::Keys(keys) => keys.run(&common),
        Command::Clients(clients) => clients.run(&common),
        Command::Store(store) => store.run(&common),
        Command::Check(check::Check {}) => check::Check::run(&common),
        Command::Healthcheck(check::Healthcheck {}) => check::Healthcheck::run(&common),
        Command::Openapi => output::line(openapi::text().trim_end()).map_err(Failure::from),
        Command::Completions { shell } => {
            // Into memory first: the generator would panic when the reader has gone away.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "linkgate", &mut script);
            output::line(String::from_utf8_lossy(&script).trim_end()).map_err(Failure::from)
        }
    };
    let code = match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Answer(code)) => ExitCode::from(code),
        Err(Failure::Configuration(errors)) => {
            for error in errors {
                say(&format!("error: {error}"));
            }
            ExitCode::from(2)
        }
        Err(Failure::Other(error)) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    };
    telemetry::finish();
    code
}
