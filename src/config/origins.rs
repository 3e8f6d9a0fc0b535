//! `api.cors_origins`: what a browser sends as `Origin:`, to the letter, because it is compared as text.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Schemes whose default port browsers leave out (URL Standard, "special schemes").
const DEFAULT_PORTS: [(&str, &str); 5] =
    [("http", "80"), ("https", "443"), ("ws", "80"), ("wss", "443"), ("ftp", "21")];

/// Checks origins: a scheme of any kind, a host, and a port where it is not the scheme's own; or `*` alone for every one.
///
/// # Errors
/// Names the first that no browser sends, and says why.
pub fn check_origins(list: Vec<String>) -> Result<Vec<String>, String> {
    if list != ["*"]
        && let Some((origin, why)) = list.iter().find_map(|origin| Some((origin, why_never_sent(origin)?)))
    {
        return Err(format!(
            "may hold origins such as \"https://app.example.com\" and \"capacitor://localhost\", or \"*\" alone: \
             \"{origin}\" {why}"
        ));
    }
    Ok(list)
}

/// Why no browser sends such an origin; `None` where it may (RFC 6454 §6.2; URL Standard, "host serializing").
fn why_never_sent(origin: &str) -> Option<&'static str> {
    if origin.contains('*') {
        return Some("holds a `*`, which stands for no part of one: name each origin");
    }
    if origin == "null" {
        return Some("is what pages without an origin send, sandboxed frames of strangers among them");
    }
    let Some((scheme, authority)) = origin.split_once("://") else { return Some("has no scheme") };
    if !scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        || !scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    {
        return Some("has no scheme");
    }
    if authority.contains(['/', '?', '#', '\\']) {
        return Some("has a path or a slash at its end, which an origin does not");
    }
    if authority.contains('@') {
        return Some("has a user, which an origin does not");
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let is_web = DEFAULT_PORTS.iter().any(|(special, _)| scheme.eq_ignore_ascii_case(special));
    if scheme.bytes().any(|byte| byte.is_ascii_uppercase()) || host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Some("has capitals, and browsers send small letters");
    }
    if host.is_empty() {
        return Some("has no host");
    }
    if !host.is_ascii() {
        return Some("has a host that browsers send in its ASCII form (xn--…)");
    }
    if let Some(port) = port {
        let is_port = port.parse::<u16>().is_ok_and(|number| number.to_string() == port);
        if !is_port {
            return Some("has no port behind its last colon that a browser would send");
        }
        if DEFAULT_PORTS.contains(&(scheme, port)) {
            return Some("names the port that its scheme has anyway, which browsers leave out");
        }
    }
    if !is_host(host, is_web) {
        return Some("has a host that no browser sends so");
    }
    None
}

/// Whether a host is written as browsers write it.
fn is_host(host: &str, is_web: bool) -> bool {
    if let Some(address) = host.strip_prefix('[') {
        let address = address.strip_suffix(']').unwrap_or_default();
        return address.parse::<Ipv6Addr>().is_ok_and(|parsed| as_browsers_write(parsed) == address);
    }
    // A last label that is a number makes it an IPv4 address, whatever its spelling.
    let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    let is_number = last.starts_with("0x") || (!last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()));
    if is_web && is_number {
        return host.parse::<Ipv4Addr>().is_ok();
    }
    host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
}

/// Browsers write no address of IPv4 into one of IPv6.
fn as_browsers_write(address: Ipv6Addr) -> String {
    match address.to_ipv4_mapped() {
        Some(_) => {
            let [.., high, low] = address.segments();
            format!("::ffff:{high:x}:{low:x}")
        }
        None => address.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_browsers_and_apps_send_is_taken() {
        for origin in [
            "https://app.example.com",
            "https://app.example.com:8443",
            "http://localhost:3000",
            "https://localhost",
            "http://127.0.0.1:8080",
            "http://[::1]:3000",
            "https://[2001:db8::1]",
            "http://[::ffff:7f00:1]",
            "http://a_b.example",
            "https://xn--bcher-kva.example",
            "http://a:443",
            "https://a:80",
            "capacitor://localhost",
            "ionic://localhost",
            "tauri://localhost",
            "http://tauri.localhost",
            "app://obsidian.md",
            "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
            "moz-extension://d5a5cbd7-9f5a-4b2e-9a3a-0c1f2d3e4f50",
            "ms-appx-web://9e2f88e3.twitter",
            "x.y+z-1://h:80",
        ] {
            assert_eq!(why_never_sent(origin), None, "{origin}");
        }
        for list in [&["*"][..], &[], &["https://a", "capacitor://localhost"]] {
            let list: Vec<_> = list.iter().map(ToString::to_string).collect();
            assert_eq!(check_origins(list.clone()), Ok(list));
        }
    }

    /// An origin that no browser sends, and a word of why.
    #[test]
    fn what_no_browser_sends_is_refused_with_the_reason() {
        for (origin, word) in [
            ("https://*.example.com", "`*`"),
            ("*://a", "`*`"),
            ("https://a:*", "`*`"),
            ("null", "sandboxed"),
            ("", "no scheme"),
            ("app.example.com", "no scheme"),
            ("//a", "no scheme"),
            ("://a", "no scheme"),
            ("1a://b", "no scheme"),
            ("https//a", "no scheme"),
            ("https:/a", "no scheme"),
            ("https://", "no host"),
            ("file://", "no host"),
            ("file:///", "path or a slash"),
            ("https://:8080", "no host"),
            ("https://a/", "slash"),
            ("https://a/x", "path"),
            ("capacitor://localhost/", "slash"),
            ("https://a?x", "path"),
            ("https://a#x", "path"),
            ("https://u@a", "user"),
            ("https://u:p@a", "user"),
            ("https://A.example", "capitals"),
            ("HTTPS://a.example", "capitals"),
            ("https://a:443", "leave out"),
            ("http://a:80", "leave out"),
            ("http://[::1]:80", "leave out"),
            ("https://a:", "port"),
            ("https://a:0443", "port"),
            ("https://a:99999", "port"),
            ("https://a:+80", "port"),
            ("https://a:x", "port"),
            ("https://bücher.example", "ASCII"),
            ("https://a b", "host"),
            (" https://a", "no scheme"),
            ("https://a ", "host"),
            ("https://a,https://b", "path"),
            ("http://127.1", "host"),
            ("http://0x7f.0.0.1", "host"),
            ("http://127.0.0.01", "host"),
            ("http://[0:0:0:0:0:0:0:1]", "host"),
            ("http://[::ffff:127.0.0.1]", "host"),
            ("http://[::1", "host"),
            ("http://::1", "host"),
            ("https://a%20b", "host"),
        ] {
            let why = why_never_sent(origin).unwrap_or_else(|| panic!("{origin} is taken"));
            assert!(why.contains(word), "{origin}: {why}");
        }
        let error = check_origins(vec!["*".into(), "https://a".into()]).unwrap_err();
        assert!(error.contains("\"*\" alone"), "{error}");
        let error = check_origins(vec!["https://a".into(), "https://b/".into()]).unwrap_err();
        assert!(error.contains("\"https://b/\""), "{error}");
    }
}
