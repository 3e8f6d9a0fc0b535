//! Linkgate as its users meet it: the real binary, real nginx, real Redis, real files.
//!
//! Every test starts what it needs on sockets and ports of its own and leaves nothing running. A server that is
//! missing on the machine fails the test; `tests/run` installs it.

#![allow(
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a test that cannot go on fails"
)]

mod support;

mod api;
mod asked;
mod bodies;
mod browser;
mod cli;
mod client_commands;
mod configuration;
mod counted;
mod cut_offs;
mod deploy;
mod described;
mod direct;
mod documents;
mod embedded;
mod express;
mod faults;
mod history;
mod horizon;
mod hostile;
mod inert;
mod isolation;
mod kept_answers;
mod loading;
mod log;
mod login;
mod modes;
mod nginx;
mod promises;
mod redis;
mod restart;
mod security;
mod shaped;
