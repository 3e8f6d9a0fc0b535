//! Variables that others set under our prefix: Kubernetes and Docker name some after every service or linked container,
//! and a service may be called `linkgate-redis-master`.
//!
//! | variable | holds |
//! | --- | --- |
//! | `…_SERVICE_HOST` | an address |
//! | `…_SERVICE_PORT`, `…_SERVICE_PORT_<name>` | a port |
//! | `…_PORT` | `tcp://10.96.0.7:80` |
//! | `…_PORT_<number>_<TCP, UDP or SCTP>`, with or without `_…` behind it | parts of that |
//! | `…_NAME` | `/container/alias` (Docker) |
//! | `…_ENV_…` | a variable of the linked container (Docker) |
//!
//! `…` is `LINKGATE` and the rest of the service's name. What could also be a misspelt setting is told by its value.

use std::net::IpAddr;

const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];

/// Whether a variable that begins with `LINKGATE_` was set by Kubernetes or Docker for a service or container.
pub fn is_service_link(variable: &str, value: &str) -> bool {
    let is_address = || value.parse::<IpAddr>().is_ok();
    let is_port = || value.parse::<u16>().is_ok();
    (variable.ends_with("_SERVICE_HOST") && is_address())
        || ((variable.ends_with("_SERVICE_PORT") || variable.contains("_SERVICE_PORT_")) && is_port())
        || (variable.ends_with("_PORT") && is_endpoint(value))
        || variable.split('_').collect::<Vec<_>>().windows(3).any(is_numbered_port)
        || (variable.ends_with("_NAME") && is_container_and_alias(value))
        || variable.split_once("_ENV_").is_some_and(|(link, theirs)| is_link(link) && !theirs.is_empty())
}

/// `tcp://10.96.0.7:80`.
fn is_endpoint(value: &str) -> bool {
    value.split_once("://").is_some_and(|(scheme, _)| PROTOCOLS.iter().any(|one| one.eq_ignore_ascii_case(scheme)))
}

/// `/container/alias`.
fn is_container_and_alias(value: &str) -> bool {
    value.strip_prefix('/').is_some_and(|names| names.contains('/'))
}

/// What precedes `_ENV_`: two underscores would part a section from a setting.
fn is_link(name: &str) -> bool {
    !name.contains("__") && !name.ends_with('_')
}

/// `PORT`, `80`, `TCP`.
fn is_numbered_port(parts: &[&str]) -> bool {
    matches!(parts, ["PORT", number, protocol] if number.parse::<u16>().is_ok() && PROTOCOLS.contains(protocol))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every name that Kubernetes gives a variable of a service, and Docker one of a link.
    #[test]
    fn whatever_a_service_or_a_linked_container_is_called_its_variables_are_known() {
        for name in ["LINKGATE", "LINKGATE_API", "LINKGATE_REDIS_MASTER", "LINKGATE_PORT", "LINKGATE__X", "LINKGATE_9"]
        {
            for (rest, value) in [
                ("SERVICE_HOST", "10.96.0.7"),
                ("SERVICE_HOST", "fd00::7"),
                ("SERVICE_PORT", "80"),
                ("SERVICE_PORT_HTTP", "80"),
                ("SERVICE_PORT_HTTP_METRICS", "80"),
                ("PORT", "tcp://10.96.0.7:80"),
                ("PORT", "udp://[fd00::7]:53"),
                ("PORT_80_TCP", "tcp://10.96.0.7:80"),
                ("PORT_80_TCP_PROTO", "tcp"),
                ("PORT_80_TCP_PORT", "80"),
                ("PORT_80_TCP_ADDR", "10.96.0.7"),
                ("PORT_53_UDP_ADDR", "10.96.0.7"),
                ("PORT_5060_SCTP_ADDR", "10.96.0.7"),
                ("PORT_8000_TCP_START", "tcp://172.17.0.2:8000"),
                ("PORT_8000_TCP_PORT_START", "8000"),
                ("PORT_8000_TCP_END", "tcp://172.17.0.2:8010"),
                ("NAME", "/web/linkgate-db"),
                ("ENV_PATH", "/usr/bin"),
                ("ENV_REDIS__URL", ""),
                ("ENV_X_SERVICE_HOST", "db.internal"),
            ] {
                let variable = format!("{name}_{rest}");
                // A name with two hyphens in a row, and a variable of Docker's alone.
                if rest.starts_with("ENV_") && name.contains("__") {
                    continue;
                }
                assert!(is_service_link(&variable, value), "{variable}={value}");
            }
        }
    }

    #[test]
    fn a_misspelt_setting_is_none() {
        for (variable, value) in [
            ("LINKGATE_PORT", "8080"),
            ("LINKGATE_LISTEN_PORT", "8080"),
            ("LINKGATE_STORE__PORT", "6379"),
            ("LINKGATE_STORE_URL", "redis://10.0.0.7:6379"),
            ("LINKGATE_STORE__HOST", "10.0.0.7"),
            ("LINKGATE_PORT_80", "80"),
            ("LINKGATE_PORT_80_QUIC", "quic://10.0.0.7:80"),
            ("LINKGATE_PORT_HTTP_TCP", "80"),
            ("LINKGATE_NAME", "app"),
            ("LINKGATE_CLIENTS_NAME", "/app"),
            ("LINKGATE_SERVICE", "linkgate"),
            ("LINKGATE_SERVICE_HOST", "dl.example.com"),
            ("LINKGATE_SERVICE_PORT", "tcp"),
            ("LINKGATE_ENVIRONMENT", "production"),
            ("LINKGATE_ENV", "production"),
            ("LINKGATE_COLLECTIONS__ENV_A__ROTO", "/x"),
        ] {
            assert!(!is_service_link(variable, value), "{variable}={value}");
        }
    }
}
