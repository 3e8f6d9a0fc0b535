//! The documents: every command in them is run.
