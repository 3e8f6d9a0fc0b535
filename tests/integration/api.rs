//! The API: what it takes, what it refuses, and how it says so.
