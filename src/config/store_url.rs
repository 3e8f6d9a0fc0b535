//! What may stand behind the `?` of `store.url`. What is not known there would be passed over in silence.
//!
//! | URL | parameters |
//! | --- | --- |
//! | `redis://`, `rediss://` | `protocol` |
//! | `redis+unix://` | `db`, `user`, `pass`, `protocol` |
//! | `redis-sentinel://`, `rediss-sentinel://` | `sentinel_password` |
//! | `redis-cluster://`, `rediss-cluster://` | – |
//!
//! `protocol` may be 2 alone, which is the default.

const PROTOCOL: &str = "protocol";
const PROTOCOLS: [&str; 2] = ["2", "resp2"];

/// The parameters of a kind of URL, and what else is worth knowing where another is tried.
fn known(scheme: &str) -> (&'static [&'static str], &'static str) {
    const IN_PATH: &str = "; the database stands in the path, as in redis://host:6379/2";
    if scheme.ends_with("unix") {
        (&["db", "user", "pass", PROTOCOL], "")
    } else if scheme.ends_with("-sentinel") {
        (&["sentinel_password"], "; the database stands in the path, as in redis-sentinel://host:26379/MASTER/2")
    } else if scheme.ends_with("-cluster") {
        (&[], "; a cluster has only database 0")
    } else {
        (&[PROTOCOL], IN_PATH)
    }
}

/// Checks the parameters of a store URL, and that it has no fragment.
///
/// # Errors
/// A sentence that names the parameters there are; it never repeats any of the URL, which may hold a password.
pub fn check_parameters(url: &str) -> Result<(), String> {
    if url.contains('#') {
        return Err("cannot hold a `#`: in a password it is written %23".into());
    }
    let Some((rest, query)) = url.split_once('?').filter(|(_, query)| !query.is_empty()) else { return Ok(()) };
    let (known, hint) = known(rest.split("://").next().unwrap_or_default());
    let mut seen = Vec::new();
    for parameter in query.split('&') {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        if !known.contains(&name) || seen.contains(&name) {
            let known: Vec<_> = known.iter().map(|name| format!("`{name}`")).collect();
            let known =
                if known.is_empty() { "no parameter".into() } else { format!("only {}, once", known.join(", ")) };
            return Err(format!(
                "takes {known}, behind its `?`{hint}; a `?` or `&` in a password is written %3F or %26"
            ));
        }
        if name == PROTOCOL && !PROTOCOLS.contains(&value) {
            return Err("takes `protocol=resp2` alone: Linkgate speaks RESP2".into());
        }
        seen.push(name);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each kind of URL takes behind its `?`; all else that any of them or another program knows is an error.
    #[test]
    fn a_parameter_is_known_to_its_kind_of_url_or_an_error() {
        let kinds: [(&[&str], &[&str]); 4] = [
            (&["redis://h:1/0", "rediss://h", "valkey://h", "valkeys://h"], &["protocol=2", "protocol=resp2"]),
            (
                &["redis+unix:///s", "unix:///s", "valkey+unix:///s"],
                &["db=2", "user=u", "pass=p", "protocol=2", "protocol=resp2"],
            ),
            (&["redis-sentinel://h/m/0", "rediss-sentinel://h/m"], &["sentinel_password=p"]),
            (&["redis-cluster://h", "rediss-cluster://h"], &[]),
        ];
        let foreign = [
            "family=6",
            "ssl_cert_reqs=none",
            "sentinel_pasword=p",
            "password=p",
            "username=u",
            "timeout=5",
            "protocol=3",
            "protocol=resp3",
            "protocol=",
            "DB=2",
            "d%62=2",
            "x",
            "=",
            "&",
        ];
        let all: Vec<&str> = kinds.iter().flat_map(|(_, own)| own.iter().copied()).chain(foreign).collect();
        for (urls, own) in kinds {
            for url in urls {
                assert_eq!(check_parameters(url), Ok(()));
                assert_eq!(check_parameters(&format!("{url}?")), Ok(()));
                for parameter in &all {
                    let checked = check_parameters(&format!("{url}?{parameter}"));
                    assert_eq!(checked.is_ok(), own.contains(parameter), "{url} {parameter}: {checked:?}");
                }
                for parameter in own {
                    let name = parameter.split('=').next().unwrap();
                    let twice = check_parameters(&format!("{url}?{parameter}&{name}=x")).unwrap_err();
                    assert!(twice.contains(&format!("`{name}`")), "{twice}");
                    check_parameters(&format!("{url}?{parameter}&secret=secret")).unwrap_err();
                }
                let fragment = check_parameters(&format!("{url}#insecure")).unwrap_err();
                assert!(fragment.contains("%23"), "{fragment}");
            }
        }
        check_parameters("unix:///s?db=2&user=u&pass=p&protocol=2").unwrap();
    }

    #[test]
    fn what_is_wrong_is_said_without_a_word_of_the_url() {
        for url in
            ["redis://u:secret@h?secret=secret", "redis-sentinel://h/m?sentinel_password=a&secret", "redis://h#secret"]
        {
            let error = check_parameters(url).unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
