//! Linkgate: expiring, revocable download links for files that stay hidden behind the edge.
//!
//! # The map
//!
//! | part | job |
//! | --- | --- |
//! | [`token`] | the link itself: format, keys, verification, mint policy; pure |
//! | [`revocation`] | what was taken back: the judgement (pure), the index in memory, the stores |
//! | [`edge`] | from a permit to the answer an edge understands |
//! | [`mint`], [`inspect`] | making links and looking into them |
//! | [`clients`] | who may call the API |
//! | [`answers`] | answers that are kept to be given again |
//! | [`identity`] | logins of identity providers in place of API keys |
//! | [`http`] | routes, refusals, connections |
//! | [`http_client`] | asking others: one request, one connection |
//! | [`config`], [`key_file`], [`collection`] | what is configured |
//! | [`app`], [`keeper`], [`cli`] | one process, put together, and kept up to date; the command line |
//! | [`process`] | signals, threads, descriptors, the service manager |
//! | [`clock`], [`entropy`], [`files`], [`telemetry`] | the machine: time, randomness, whole files, logs |
//! | [`span`], [`bounded`] | spans of time as people write them; lists that end where they grow too long |
//!
//! # One download
//!
//! [`http`] takes `/download/{collection}/{token}` apart. [`token::UntrustedToken::parse`] decodes the token,
//! [`token::verify`] checks signature, claims and times, [`revocation::admit`] what was revoked and whether that is
//! known freshly enough, and only the [`revocation::Permit`] that comes out can be turned into an
//! [`edge::EdgeReply`]. Each step's type has a private constructor: none can be skipped.
//!
//! # Trust
//!
//! Bytes from a request are shape-checked, then authenticated, then understood, in this order. An edge is believed
//! about a client's address only when it is configured to be. Whoever can write to the store is an operator. Links are
//! credentials: no log, error or metric holds one.

pub mod answers;
pub mod app;
pub mod bounded;
pub mod cli;
pub mod clients;
pub mod clock;
pub mod collection;
pub mod config;
pub mod edge;
pub mod entropy;
pub mod files;
pub mod http;
pub mod http_client;
pub mod identity;
pub mod inspect;
pub mod keeper;
pub mod key_file;
pub mod mint;
pub mod process;
pub mod revocation;
pub mod span;
pub mod telemetry;
pub mod token;
