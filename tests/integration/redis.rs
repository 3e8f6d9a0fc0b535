//! Revocations in Redis: shared by every verifier, and safe when Redis is not.
