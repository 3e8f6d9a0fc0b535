//! Where Linkgate listens, and whose word about a client's address it takes.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream as BlockingUnixStream;
use std::path::{Path, PathBuf};

use http::HeaderName;
use ipnet::IpNet;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{TcpListener, UnixListener};

use super::asked;
use super::fields::Fields;
use crate::token::{are_nearly_all, parse_network};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;
/// The right of every user of the machine to connect to a Unix socket (`unix(7)`).
const CONNECT_BY_OTHERS: u32 = 0o002;

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Address {
    /// `host:port`; the host may be a name, the port 0 for any that is free.
    Tcp(String),
    /// `unix:/path`.
    Unix(PathBuf),
}

impl Address {
    /// # Errors
    /// Says what an address looks like.
    pub fn parse(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "must be \"host:port\", \"unix:/path.sock\" or \"off\"";
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.starts_with('/') { Ok(Self::Unix(path.into())) } else { Err(EXPECTED.into()) };
        }
        let port = text.rsplit_once(':').map(|(host, port)| (!host.is_empty(), port.parse::<u16>()));
        match port {
            Some((true, Ok(_))) => Ok(Self::Tcp(text.to_owned())),
            _ => Err(EXPECTED.into()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The listeners, as configured; audiences with equal addresses share one.
#[derive(Clone, Debug)]
pub struct ListenConfig {
    pub download: Option<Address>,
    pub api: Option<Address>,
    pub ops: Option<Address>,
    /// Permissions of Unix sockets.
    pub socket_mode: u32,
    pub trusted_proxies: TrustedProxies,
    /// Where a trusted proxy says who its client is.
    pub client_address_header: HeaderName,
    /// Whether proxies are trusted by their address and the configuration does not say which header they set.
    pub presumes_address_header: bool,
}

/// Proxies whose word about the client's address is taken; nobody's by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    unix: bool,
    networks: Vec<IpNet>,
}

impl TrustedProxies {
    /// Reads `unix` (whoever may open a Unix socket), addresses and networks.
    ///
    /// # Errors
    /// Names what the list may hold.
    pub fn parse(list: &[String]) -> Result<Self, &'static str> {
        let mut proxies = Self::default();
        for item in list {
            if item == "unix" {
                proxies.unix = true;
            } else {
                proxies.networks.push(
                    parse_network(item).ok_or("may hold \"unix\", addresses and networks such as \"10.0.0.0/8\"")?,
                );
            }
        }
        Ok(proxies)
    }

    /// Whether proxies are trusted by their address, and not only those that may open a Unix socket.
    pub const fn has_networks(&self) -> bool {
        !self.networks.is_empty()
    }

    /// Whether those are trusted that may open a Unix socket.
    pub const fn has_unix(&self) -> bool {
        self.unix
    }

    /// Whether everybody is trusted who has an address of one kind, or nearly.
    pub fn has_everybody(&self) -> bool {
        are_nearly_all(&self.networks)
    }

    fn trusts(&self, peer: Peer) -> bool {
        match peer {
            Peer::Unix => self.unix,
            Peer::Tcp(address) => {
                let address = address.ip().to_canonical();
                self.networks.iter().any(|network| network.contains(&address))
            }
        }
    }
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    Tcp(SocketAddr),
    Unix,
}

impl ListenConfig {
    /// Whether every user of the machine may connect to its Unix sockets, of which there are some.
    pub fn has_open_socket(&self) -> bool {
        let is_unix = |address: &Option<Address>| matches!(address, Some(Address::Unix(_)));
        self.socket_mode & CONNECT_BY_OTHERS != 0 && [&self.download, &self.api, &self.ops].into_iter().any(is_unix)
    }

    /// The client's address: the peer's own, or what a trusted proxy says. `None` when a proxy is not trusted to
    /// say, or says nothing that is an address: such a client is inside no network.
    pub fn client_address<F: Fields + ?Sized>(&self, peer: Peer, fields: &F) -> Option<IpAddr> {
        if self.trusted_proxies.trusts(peer) {
            return asked::client_address(fields, &self.client_address_header);
        }
        match peer {
            Peer::Tcp(address) => Some(address.ip()),
            Peer::Unix => None,
        }
    }
}

/// A socket that is listened on.
pub enum Listener {
    Tcp(TcpListener),
    /// With its file, where that is ours to remove.
    Unix(UnixListener, Option<SocketFile>),
}

/// The file of a Unix socket; removed when it is dropped, unless another process has put its own in the place.
pub struct SocketFile {
    path: PathBuf,
    /// Device and inode. No other file has them while the socket is bound.
    made: Option<(u64, u64)>,
}

impl SocketFile {
    fn just_bound(path: PathBuf) -> Self {
        let made = Self::look(&path);
        Self { path, made }
    }

    fn look(path: &Path) -> Option<(u64, u64)> {
        std::fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.made.is_some() && Self::look(&self.path) == self.made {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Listener {
    /// Binds an address.
    ///
    /// # Errors
    /// When it is taken or may not be used. A socket file that nobody listens on any more is replaced.
    pub async fn bind(address: &Address, socket_mode: u32) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => {
                let resolved = tokio::net::lookup_host(address).await?.next().ok_or(io::ErrorKind::NotFound)?;
                let socket = match resolved {
                    SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4(),
                    SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6(),
                }?;
                socket.set_reuseaddr(true)?;
                socket.bind(resolved)?;
                Ok(Self::Tcp(socket.listen(BACKLOG as u32)?))
            }
            Address::Unix(path) => {
                remove_stale(path)?;
                let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
                // Linux makes the file with the socket's own mode: not for a moment may more connect than are meant to.
                rustix::fs::fchmod(&socket, socket_mode.into())?;
                socket.bind(&SockAddr::unix(path)?)?;
                let file = SocketFile::just_bound(path.clone());
                // And as many as are meant to, under any umask.
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(socket_mode))?;
                socket.listen(BACKLOG)?;
                Ok(Self::Unix(UnixListener::from_std(socket.into())?, Some(file)))
            }
        }
    }

    /// The host and port that were bound.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(..) => None,
        }
    }
}

/// Removes a socket that a killed process left behind; one that answers is somebody's.
fn remove_stale(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file of that name that is not a socket"))
        }
        Ok(_) => match BlockingUnixStream::connect(path) {
            Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens on this socket")),
            Err(_) => std::fs::remove_file(path),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;

    #[test]
    fn addresses_are_hosts_with_ports_or_socket_paths() {
        assert_eq!(Address::parse("127.0.0.1:0"), Ok(Address::Tcp("127.0.0.1:0".into())));
        assert_eq!(Address::parse("[::1]:80"), Ok(Address::Tcp("[::1]:80".into())));
        assert_eq!(Address::parse("unix:/run/x.sock"), Ok(Address::Unix("/run/x.sock".into())));
        for bad in ["", "8080", ":8080", "host", "host:http", "unix:run/x", "host:70000"] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_a_trusted_proxy_may_say_who_the_client_is() {
        let config = |trusted: &[&str]| ListenConfig {
            download: None,
            api: None,
            ops: None,
            socket_mode: 0o660,
            trusted_proxies: TrustedProxies::parse(&trusted.iter().map(ToString::to_string).collect::<Vec<_>>())
                .unwrap(),
            client_address_header: HeaderName::from_static("x-forwarded-for"),
            presumes_address_header: false,
        };
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", "6.6.6.6, 203.0.113.9".parse().unwrap());
        let tcp = Peer::Tcp("10.0.0.1:9".parse().unwrap());
        let said = Some("203.0.113.9".parse().unwrap());
        assert_eq!(config(&[]).client_address(tcp, &headers), Some("10.0.0.1".parse().unwrap()));
        assert_eq!(config(&["10.0.0.0/8"]).client_address(tcp, &headers), said);
        assert_eq!(config(&["::ffff:10.0.0.0/104"]).client_address(tcp, &headers), said);
        assert_eq!(config(&["10.0.0.0/8"]).client_address(tcp, &HeaderMap::new()), None);
        assert_eq!(config(&[]).client_address(Peer::Unix, &headers), None);
        assert_eq!(config(&["unix"]).client_address(Peer::Unix, &headers), said);
    }
}
