//! What the least trusted may learn and do: users who log in, strangers on the machine, verifiers that may be broken into.

mod hosts;
mod keys;
mod names;
mod notes;
mod stores;
mod successors;
mod wires;
