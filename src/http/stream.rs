//! The two kinds of connection as what hyper reads from and writes to.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::slots::Activity;

/// What a connection is to hyper.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Hands a stream to the runtime.
pub trait IntoStream {
    /// # Errors
    /// When the runtime does not take it.
    fn into_stream(self) -> io::Result<Box<dyn Stream>>;
}

impl IntoStream for std::net::TcpStream {
    fn into_stream(self) -> io::Result<Box<dyn Stream>> {
        Ok(Box::new(tokio::net::TcpStream::from_std(self)?))
    }
}

impl IntoStream for std::os::unix::net::UnixStream {
    fn into_stream(self) -> io::Result<Box<dyn Stream>> {
        Ok(Box::new(tokio::net::UnixStream::from_std(self)?))
    }
}

/// A stream of which a part was read already, and whose writes are noted.
pub struct Resumed {
    read: Vec<u8>,
    at: usize,
    stream: Box<dyn Stream>,
    activity: Arc<Activity>,
}

impl Resumed {
    pub fn new(stream: Box<dyn Stream>, read: Vec<u8>, activity: Arc<Activity>) -> Self {
        Self { read, at: 0, stream, activity }
    }

    fn note(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(_)) = written {
            self.activity.live();
        }
        written
    }
}

impl AsyncRead for Resumed {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let left = &this.read[this.at..];
        if left.is_empty() {
            return Pin::new(&mut this.stream).poll_read(context, room);
        }
        let taken = left.len().min(room.remaining());
        room.put_slice(&left[..taken]);
        this.at += taken;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Resumed {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note(written)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
