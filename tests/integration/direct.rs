//! Files sent by Linkgate itself.
