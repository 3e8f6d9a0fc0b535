//! The process and who looks after it: signals, threads, descriptors, the service manager.

use anyhow::{Result, anyhow};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sd_notify::NotifyState;
use tokio::sync::watch;
use tracing::warn;

/// Descriptors for everything but connections: files that are sent, the store, listeners.
const OTHER_DESCRIPTORS: u64 = 256;

/// The variable that lets a core file be written, for debugging; it would hold the keys.
pub const ALLOW_CORE_DUMPS: &str = "LINKGATE_ALLOW_CORE_DUMPS";

/// Keeps what is in memory, such as keys, out of core files and out of the sight of other processes of the same user
/// (`PR_SET_DUMPABLE`, prctl(2)). Called first thing.
///
/// # Errors
/// When the system does not do it.
pub fn shut_memory() -> std::io::Result<()> {
    let limited = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    // A core that is piped into a program (core_pattern) knows no limit; this holds for it, too.
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(limited?)
}

/// Tells the service manager (`sd_notify(3)`), where there is one.
pub fn tell_manager(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "the service manager cannot be told");
    }
}

/// Lets the process have a descriptor for each connection, as far as it may.
pub fn raise_descriptor_limit(connections: usize) {
    let wanted = connections as u64 + OTHER_DESCRIPTORS;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return;
    }
    let most = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(most), ..limit });
    if raised.is_err() || most < wanted {
        warn!(limit = most, "the process may have fewer descriptors than `limits.connections` needs: see `ulimit -n`");
    }
}

/// Stops on SIGTERM or SIGINT, ends at once on the second, reloads on SIGHUP.
///
/// # Errors
/// When signals cannot be listened for.
pub fn signals() -> Result<(watch::Receiver<bool>, watch::Receiver<()>)> {
    use tokio::signal::unix::{SignalKind, signal};
    let (stop, stopping) = watch::channel(false);
    let (reload, reloading) = watch::channel(());
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = hangup.recv() => {
                    let _ = reload.send(());
                    continue;
                }
            }
            if stop.send_replace(true) {
                warn!("stopping at once");
                crate::telemetry::finish();
                std::process::exit(1);
            }
        }
    });
    Ok((stopping, reloading))
}

/// Lets `rediss://` find its cryptography; called once, first thing.
pub fn install_crypto() {
    // A second call changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// How many threads judge downloads, and how many more work on large requests of the API. The edge works on the same
/// machine: half of it is enough, and fewer threads wake each other less.
pub fn worker_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2))
}

/// A runtime for the process.
///
/// # Errors
/// When the operating system gives no threads.
pub fn runtime() -> Result<tokio::runtime::Runtime> {
    let workers = worker_threads();
    let mut builder = match workers {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    builder
        .worker_threads(workers)
        .enable_all()
        .build()
        .map_err(|error| anyhow!("the runtime cannot be started: {error}"))
}
