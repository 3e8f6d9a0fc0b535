//! One fault, one test, one stated outcome. What must hold throughout is in [`crate::support::fleet`].

mod cache;
mod contents;
mod network;
mod rights;
mod server;
mod topology;
mod verifier;
