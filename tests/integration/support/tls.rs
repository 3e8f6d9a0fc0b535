//! A Redis that speaks TLS only, with certificates made for the test.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::linkgate::Builder;
use super::redis::{LOGGED, Redis};
use super::{folder, free_port};

/// An authority, and what it has signed.
pub struct Authority(TempDir);

/// Certificate and key, as files.
#[derive(Clone, Debug)]
pub struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    pub fn new() -> Self {
        let authority = Self(folder());
        authority.openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test-authority \
             -keyout ca.key -out ca.pem",
        );
        authority
    }

    pub fn certificate(&self) -> PathBuf {
        self.path().join("ca.pem")
    }

    /// Signs a certificate for a host (`IP:127.0.0.1`, `DNS:redis.test`).
    pub fn sign(&self, name: &str, host: &str) -> Identity {
        let usage = "extendedKeyUsage=serverAuth,clientAuth";
        std::fs::write(self.path().join("extensions"), format!("subjectAltName={host}\n{usage}\n")).unwrap();
        self.openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr"
        ));
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile extensions -out {name}.pem"
        ));
        Identity { certificate: self.path().join(format!("{name}.pem")), key: self.path().join(format!("{name}.key")) }
    }

    /// Starts a Redis that asks clients for a certificate of this authority.
    pub fn redis(&self, server: &Identity) -> Redis {
        let port = free_port();
        let client = self.sign("redis-cli", "DNS:client.test");
        let authority = self.certificate();
        let [ca, certificate, key] = [&authority, &server.certificate, &server.key].map(|path| text(path));
        let [own_certificate, own_key] = [&client.certificate, &client.key].map(|path| text(path));
        let sign_in = ["--tls", "--insecure", "--cacert", ca, "--cert", own_certificate, "--key", own_key];
        let tls = ["--port", "0", "--tls-port", &port.to_string()].map(str::to_owned);
        let files = ["--tls-ca-cert-file", ca, "--tls-cert-file", certificate, "--tls-key-file", key];
        let options = [&tls.each_ref().map(String::as_str)[..], &files, &LOGGED].concat();
        Redis::of("redis-server", folder(), port, &sign_in, &options)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn openssl(&self, arguments: &str) {
        let mut command = Command::new("openssl");
        command.args(arguments.split_whitespace()).current_dir(self.path()).stdin(Stdio::null());
        let made =
            command.output().unwrap_or_else(|error| panic!("openssl cannot be started ({error}): run tests/run"));
        assert!(made.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&made.stderr));
    }
}

/// A Linkgate that reaches such a Redis, trusts this authority, and shows a certificate if it has one.
pub fn following(redis: &Redis, authority: &Authority, client: Option<&Identity>) -> Builder {
    let builder = Builder::following(&redis.url().replace("redis://", "rediss://"));
    let builder = builder.store(&format!("tls_ca = {:?}", authority.certificate()));
    match client {
        None => builder,
        Some(client) => builder.store(&format!("tls_cert = {:?}\ntls_key = {:?}", client.certificate, client.key)),
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
