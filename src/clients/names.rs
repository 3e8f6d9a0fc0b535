//! Names that stand for Linkgate itself or for its operator where a client's name would stand: as the author of a
//! revocation, in a link, in a log line, in a metric. No client and no identity provider may be called so.

/// The operator: who may open the socket in the data folder, write to the store, or read the key file.
pub const OPERATOR: &str = "operator";
/// Linkgate itself, as the author of what no client has asked for.
pub const LINKGATE: &str = "linkgate";

/// Every name that stands for no client.
pub const RESERVED: [&str; 2] = [OPERATOR, LINKGATE];

/// Whether a name is reserved, or would be read as one that is.
pub fn is_reserved(name: &str) -> bool {
    RESERVED.iter().any(|reserved| name.eq_ignore_ascii_case(reserved))
}
