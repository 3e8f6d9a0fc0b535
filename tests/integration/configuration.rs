//! The configuration: every error at once, with its place.
