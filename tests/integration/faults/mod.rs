//! One fault, one test, one stated outcome. What must hold throughout is in [`crate::support::fleet`].

mod cache;
mod contents;
mod lagging;
mod lineage;
mod network;
mod rights;
mod server;
mod split_brain;
mod topology;
mod verifier;
