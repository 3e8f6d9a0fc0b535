//! Sockets that whoever started the process listens on already (`sd_listen_fds(3)`): connections wait there while the
//! process is not running, so none is lost when it is started anew.

use std::io;
use std::os::fd::AsFd;

use listenfd::ListenFd;
use rustix::net::sockopt::socket_acceptconn;
use tokio::net::{TcpListener, UnixListener};

use super::Audience;
use super::listen::Listener;

/// The variable that names the sockets, with colons between the names.
const NAMES: &str = "LISTEN_FDNAMES";

/// A socket that was handed over.
pub struct Inherited {
    pub listener: Listener,
    /// Whom it is for, by its name; `None` for all whom none of the others is for.
    pub audience: Option<Audience>,
}

/// Takes the sockets that were handed over to this process, by `LISTEN_FDS`, `LISTEN_PID` and `LISTEN_FDNAMES`.
///
/// # Errors
/// When one of them is no listening TCP or Unix socket.
pub fn take() -> io::Result<Vec<Inherited>> {
    let names = std::env::var(NAMES).unwrap_or_default();
    let mut names = names.split(':');
    let mut sockets = ListenFd::from_env();
    (0..sockets.len())
        .map(|at| {
            let audience = names.next().and_then(audience);
            Ok(Inherited { listener: listener(&mut sockets, at)?, audience })
        })
        .collect()
}

fn audience(name: &str) -> Option<Audience> {
    match name {
        "download" => Some(Audience::Download),
        "api" => Some(Audience::Api),
        "ops" => Some(Audience::Ops),
        _ => None,
    }
}

fn listener(sockets: &mut ListenFd, at: usize) -> io::Result<Listener> {
    if let Ok(Some(socket)) = sockets.take_unix_listener(at) {
        check(&socket)?;
        socket.set_nonblocking(true)?;
        return Ok(Listener::Unix(UnixListener::from_std(socket)?, None));
    }
    let socket = sockets.take_tcp_listener(at)?.ok_or(io::ErrorKind::NotFound)?;
    check(&socket)?;
    socket.set_nonblocking(true)?;
    Ok(Listener::Tcp(TcpListener::from_std(socket)?))
}

/// A socket that nobody listens on would fail at the first `accept`, and for ever.
fn check(socket: impl AsFd) -> io::Result<()> {
    if socket_acceptconn(socket)? {
        Ok(())
    } else {
        Err(io::Error::other("nobody listens on it (Accept=no is needed)"))
    }
}
