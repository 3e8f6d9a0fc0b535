//! Addresses that can work: what is listened on, and what links start with.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::unix::net::SocketAddr as UnixAddress;

use crate::http::listen::Address;

/// Reads an address to listen on.
///
/// # Errors
/// Says what an address looks like, or why none could be listened on.
pub fn parse_address(text: &str) -> Result<Address, String> {
    let address = Address::parse(text)?;
    match &address {
        Address::Unix(path) => UnixAddress::from_pathname(path).map(drop).map_err(|_| {
            let length = path.as_os_str().len();
            format!(
                "must be a path that a Unix socket can have; this one is too long with {length} bytes, or holds a NUL"
            )
        })?,
        Address::Tcp(address) if host_of(address) == "*" => {
            return Err(
                "must name a host: \"0.0.0.0\" stands for every address of this machine, \"[::]\" for those of \
                        IPv6 as well"
                    .into(),
            );
        }
        Address::Tcp(_) => {}
    }
    Ok(address)
}

/// Whether clients could go to an address that is listened on.
pub fn is_reachable(address: &Address) -> bool {
    matches!(address, Address::Tcp(address) if !is_wildcard(host_of(address)))
}

/// What links start with where only the address is known that downloads are served on; `None` where clients could not
/// reach it by that, or its port is not known before it is bound.
pub fn url_of(address: &str) -> Option<String> {
    let (host, port) = address.rsplit_once(':')?;
    if is_wildcard(host) || port.parse() == Ok(0_u16) {
        return None;
    }
    // An IPv6 address may be listened on without brackets, and stands in no URL so.
    Some(
        host.parse::<Ipv6Addr>().map_or_else(|_| format!("http://{address}"), |host| format!("http://[{host}]:{port}")),
    )
}

/// The same for an address that was bound.
pub fn url_of_bound(address: SocketAddr) -> Option<String> {
    (!address.ip().to_canonical().is_unspecified()).then(|| format!("http://{address}"))
}

/// Reads what links start with; a slash at its end is left out.
///
/// # Errors
/// Says what is wrong with it.
pub fn parse_public_url(url: String) -> Result<String, &'static str> {
    const WRONG: &str =
        "must be an http:// or https:// URL without query or fragment, such as \"https://dl.example.com\"";
    let parsed: http::Uri = url.parse().map_err(|_| WRONG)?;
    let is_web = matches!(parsed.scheme_str(), Some("http" | "https"));
    let authority = parsed.authority().map(http::uri::Authority::as_str).unwrap_or_default();
    if !is_web || authority.is_empty() || parsed.query().is_some() || url.contains('#') {
        return Err(WRONG);
    }
    if authority.contains('@') {
        return Err("must hold neither a user nor a password: they would stand in every link");
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    if port.is_some_and(|port| !port.bytes().all(|byte| byte.is_ascii_digit()) || port.parse::<u16>().unwrap_or(0) == 0)
    {
        return Err("must have a port from 1 to 65535, or none");
    }
    if is_wildcard(host) {
        return Err("must name a host that clients reach: this one stands for every address of a machine");
    }
    let is_host = match host.strip_prefix('[') {
        Some(address) => address.strip_suffix(']').is_some_and(|address| address.parse::<Ipv6Addr>().is_ok()),
        None => {
            let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
            !host.is_empty() && host.bytes().all(is_good)
        }
    };
    if is_host { Ok(url.trim_end_matches('/').to_owned()) } else { Err(WRONG) }
}

fn host_of(address: &str) -> &str {
    address.rsplit_once(':').map_or(address, |(host, _)| host)
}

/// Whether a host stands for every address of a machine, and so for none that a client could go to.
fn is_wildcard(host: &str) -> bool {
    match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_unspecified(),
        // Resolvers read `0` and `0x0` as 0.0.0.0.
        Err(_) => host == "*" || (!host.is_empty() && host.bytes().all(|byte| b"0xX.".contains(&byte))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WILDCARDS: [&str; 9] =
        ["0.0.0.0", "[::]", "[0:0::0]", "[::ffff:0.0.0.0]", "0", "00.0.0.0", "0.0", "0x0", "0X00.0"];

    #[test]
    fn no_link_starts_with_an_address_that_stands_for_all_of_a_machine() {
        for host in WILDCARDS {
            parse_address(&format!("{host}:8080")).unwrap();
            assert_eq!(url_of(&format!("{host}:8080")), None, "{host}");
            assert!(parse_public_url(format!("http://{host}:8080")).is_err(), "{host}");
            assert!(parse_public_url(format!("https://{host}")).is_err(), "{host}");
        }
        for unknown in [":::8080", "127.0.0.1:0", "[::1]:00"] {
            assert_eq!(url_of(unknown), None, "{unknown}");
        }
        for bound in ["0.0.0.0:1", "[::]:1", "[::ffff:0.0.0.0]:1"] {
            assert_eq!(url_of_bound(bound.parse().unwrap()), None, "{bound}");
        }
        for (address, url) in [
            ("127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("[::1]:80", "http://[::1]:80"),
            ("::1:80", "http://[::1]:80"),
            ("10.0.0.7:80", "http://10.0.0.7:80"),
            ("0.0.0.1:80", "http://0.0.0.1:80"),
            ("x0.example:80", "http://x0.example:80"),
        ] {
            assert_eq!(url_of(address).as_deref(), Some(url));
        }
        assert_eq!(url_of_bound("[::1]:80".parse().unwrap()).as_deref(), Some("http://[::1]:80"));
    }

    #[test]
    fn an_address_that_nothing_can_listen_on_is_refused() {
        let longest = |limit: usize| format!("unix:/{}", "s".repeat(limit - 1));
        parse_address(&longest(90)).unwrap();
        for (bad, word) in [
            (longest(150), "too long with 150 bytes"),
            (longest(108), "too long"),
            ("unix:/a\0b".to_owned(), "NUL"),
            ("unix:".to_owned(), "must be"),
            ("*:8080".to_owned(), "0.0.0.0"),
            ("*:0".to_owned(), "0.0.0.0"),
            ("127.0.0.1:99999".to_owned(), "must be"),
            ("127.0.0.1:-1".to_owned(), "must be"),
            ("127.0.0.1:".to_owned(), "must be"),
        ] {
            let error = parse_address(&bad).expect_err(&bad);
            assert!(error.contains(word), "{bad}: {error}");
        }
    }

    #[test]
    fn what_links_start_with_is_a_host_and_a_path_and_nothing_else() {
        for (url, kept) in [
            ("https://dl.example.com", "https://dl.example.com"),
            ("https://dl.example.com/", "https://dl.example.com"),
            ("https://dl.example.com:8443/files/", "https://dl.example.com:8443/files"),
            ("http://localhost:8080", "http://localhost:8080"),
            ("http://127.0.0.1:1", "http://127.0.0.1:1"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("http://[2001:db8::1]", "http://[2001:db8::1]"),
            ("http://a_b:65535", "http://a_b:65535"),
        ] {
            assert_eq!(parse_public_url(url.into()).as_deref(), Ok(kept));
        }
        for (bad, word) in [
            ("", "http:// or https://"),
            ("dl.example.com", "http:// or https://"),
            ("ftp://a", "http:// or https://"),
            ("https://", "http:// or https://"),
            ("https:///x", "http:// or https://"),
            ("https://a/?b", "without query"),
            ("https://a?b", "without query"),
            ("https://a#b", "fragment"),
            ("https://a/#", "fragment"),
            ("https://user@a", "user"),
            ("https://user:secret@a", "password"),
            ("https://:secret@a", "password"),
            ("https://a:99999", "port"),
            ("https://a:65536", "port"),
            ("https://a:0", "port"),
            ("https://a:", "port"),
            ("https://a:+1", "port"),
            ("http://*:8080", "every address"),
            ("http://*", "every address"),
            ("http://*.example.com", "http:// or https://"),
            ("https://a b", "http:// or https://"),
            ("https://bücher.example", "http:// or https://"),
            ("https://[::1", "http:// or https://"),
        ] {
            let error = parse_public_url(bad.into()).expect_err(bad);
            assert!(error.contains(word) && !error.contains("secret"), "{bad}: {error}");
        }
    }
}
