//! The embedded store: what it has answered it still knows, whatever happens.
