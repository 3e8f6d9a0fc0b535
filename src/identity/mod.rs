//! Identity providers.
pub mod algorithm;
pub mod json;
pub mod jwks;
pub mod jwt;
