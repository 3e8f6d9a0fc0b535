//! Small models of what the processes and their store agree on, and every state that these can come to.
//!
//! | model | what it is about |
//! | --- | --- |
//! | `horizon` | cut-offs, issue times and clocks that are wrong |
//! | `freshness` | beats, Sentinels, replicas: when what is known may be judged by |
//! | `lineage` | stores that are emptied, put back and trimmed, and who remembers what |
//! | `counts` | counted links across a loss |
//!
//! Each rule of the protocol is a switch. With all of them every state keeps every promise; with one of them taken back
//! the search shows how a promise breaks, in the fewest steps: `cargo test --test model -- --nocapture` prints it.

#![allow(
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails, and a counterexample is to be read"
)]

mod counts;
mod explore;
mod freshness;
mod horizon;
mod lineage;
