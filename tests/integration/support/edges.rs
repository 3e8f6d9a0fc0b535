//! What stands before the files: everything that a Linkgate can be shipped with.

use super::free_port;
use super::http::{Place, Response, request};
use super::linkgate::{Builder, Linkgate};
use super::nginx::{Nginx, Variant};

/// A Linkgate and what sends its files.
pub struct Site {
    pub name: &'static str,
    pub linkgate: Linkgate,
    pub edge: Edge,
}

/// What sends the files.
pub enum Edge {
    Nginx(Nginx),
    /// Linkgate itself, on this host and port.
    Direct(String),
}

impl Edge {
    /// The address of a path, for a browser.
    pub fn url(&self, path: &str) -> String {
        match self {
            Self::Nginx(nginx) => nginx.url(path),
            Self::Direct(address) => format!("http://{address}{path}"),
        }
    }

    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
        match self {
            Self::Nginx(nginx) => nginx.request(method, path, headers),
            Self::Direct(address) => request(&Place::Tcp(address.clone()), method, path, headers, b""),
        }
    }
}

/// The same Linkgate behind each, with further lines in the section of its collection.
pub fn sites(setting: &str) -> Vec<Site> {
    let behind = |name, variant| {
        let linkgate = Builder::new().setting(setting).edge("nginx").start();
        let edge = Edge::Nginx(Nginx::start(&linkgate, variant));
        Site { name, linkgate, edge }
    };
    let address = format!("127.0.0.1:{}", free_port());
    let direct = Builder::new().setting(setting).environment("LINKGATE_LISTEN__DOWNLOAD", &address).start();
    vec![
        behind("linkgate-server.conf", Variant::Redirect),
        behind("linkgate-auth-request.conf", Variant::AuthRequest),
        Site { name: "direct", linkgate: direct, edge: Edge::Direct(address) },
    ]
}
