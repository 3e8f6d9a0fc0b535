//! What a configuration may say, and hardly means.

use super::Config;
use super::settings::is_inside;

/// Something to look at twice.
pub struct Caution {
    pub subject: String,
    pub message: String,
}

impl Config {
    /// What is allowed and is more often a mistake than meant.
    pub fn cautions(&self) -> Vec<Caution> {
        let mut cautions = self.overlapping_roots();
        if self.listen.presumes_address_header {
            cautions.push(Caution {
                subject: "listen".into(),
                message: format!(
                    "proxies are trusted about the client's address, and `client_address_header` is left at \"{}\": \
                     Caddy and others pass that header on as the client sent it; name the header that your edge sets, such \
                     as \"x-forwarded-for\", or this one if it is",
                    self.listen.client_address_header
                ),
            });
        }
        if self.listen.trusted_proxies.has_everybody() {
            cautions.push(Caution {
                subject: "listen".into(),
                message:
                    "everybody is in `trusted_proxies`, or half of all addresses, so clients that reach this address choose the \
                     address that links are bound to and downloads are counted by: name the addresses of your edges"
                        .into(),
            });
        }
        if self.listen.has_open_socket() {
            let harm = if self.listen.trusted_proxies.has_unix() {
                ", use what they serve and say which address a client has"
            } else {
                " and use what they serve"
            };
            cautions.push(Caution {
                subject: "listen".into(),
                message: format!(
                    "everybody on the machine may open the Unix sockets (`socket_mode` is \"{:04o}\"){harm}: \"0660\" lets in \
                     Linkgate's user and group alone",
                    self.listen.socket_mode
                ),
            });
        }
        cautions
    }

    /// A file of two collections has two names: what is said about one of them does not hold for the other.
    fn overlapping_roots(&self) -> Vec<Caution> {
        let with_roots: Vec<_> = self.collections.values().filter(|one| !one.root.as_os_str().is_empty()).collect();
        let pairs = with_roots.iter().flat_map(|inner| with_roots.iter().map(move |outer| (inner, outer)));
        let overlapping = pairs.filter(|(inner, outer)| {
            let is_first_of_two = inner.name().as_str() < outer.name().as_str();
            inner.name() != outer.name()
                && is_inside(&inner.root, &outer.root)
                && (is_first_of_two || !is_inside(&outer.root, &inner.root))
        });
        let cautions = overlapping.map(|(inner, outer)| Caution {
            subject: format!("collection {}", inner.name().as_str()),
            message: format!(
                "its files are files of collection `{}` as well: revoking a path in one of them leaves links of the other \
                 alone, and a client of either may make links to them",
                outer.name().as_str()
            ),
        });
        cautions.collect()
    }
}
