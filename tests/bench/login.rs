//! What a login costs beside an API key: `cargo bench --bench login`, with `openssl` installed.
//!
//! A server of its own mints over one kept-alive Unix socket; its CPU time per link is read from the kernel. The same
//! link is asked for with an API key, with logins that were seen before, and with logins that are seen for the first
//! time, all interleaved in rounds, so that ratios hold on a machine that others use as well.

#![allow(
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench that cannot go on fails, and measures time itself"
)]

#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../integration/support/identity.rs"]
mod identity;
#[path = "fixture/server.rs"]
mod server;

use std::time::Duration;

use identity::{KeyServer, Signer, seconds};
use serde_json::json;
use server::Server;

const ALGORITHMS: [&str; 3] = ["RS256", "ES256", "EdDSA"];
const ROUNDS: usize = 9;
/// Links of one kind in one round.
const LINKS: usize = 1_000;
/// Users whose logins come again and again.
const USERS: usize = 100;

/// Asks for a link; answers the status.
fn mint(connection: &mut server::Connection, credential: &str, user: usize) -> u16 {
    connection.post("/v1/links", credential, &format!("{{\"path\":\"users/{user}/holiday/IMG_0001.jpg\"}}"))
}

/// A login as providers make them, with a few claims besides those we look at.
fn login(signer: &Signer, user: usize, number: usize) -> String {
    signer.login(&json!({
        "iss": format!("https://{}.example.com/", signer.algorithm()), "aud": ["photos", "https://example.com/userinfo"],
        "sub": user.to_string(), "iat": seconds(), "exp": seconds() + 3_600, "jti": number.to_string(),
        "azp": "kxDPj2fGEmbc6yT0y0FqkTkbGq3vsVwb", "scope": "openid profile email", "email": "user@example.com",
        "permissions": ["read:photos", "write:photos"],
    }))
}

/// Something that mints, and what a link cost it in each round.
struct Contender {
    name: String,
    /// Credentials and their users for one round, made anew for each where they must be new.
    credentials: Box<dyn FnMut(usize) -> Vec<(String, usize)>>,
    costs: Vec<f64>,
}

impl Contender {
    fn new(name: String, credentials: impl FnMut(usize) -> Vec<(String, usize)> + 'static) -> Self {
        Self { name, credentials: Box::new(credentials), costs: Vec::new() }
    }
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let mut sections = String::new();
    let mut servers = Vec::new();
    let mut contenders = Vec::new();
    for algorithm in ALGORITHMS {
        let signer = std::rc::Rc::new(Signer::new(algorithm, "one"));
        let server = KeyServer::publishing(&[&signer]);
        sections += &format!(
            "[[identity_providers]]\nname = \"{algorithm}\"\nissuer = \"https://{algorithm}.example.com/\"\n\
             audience = \"photos\"\nalgorithms = [\"{algorithm}\"]\njwks_url = \"{}\"\nallow = [\"users/{{sub}}/**\"]\n",
            server.url()
        );
        servers.push(server);
        let known: Vec<(String, usize)> = (0..USERS).map(|user| (login(&signer, user, 0), user)).collect();
        contenders.push(Contender::new(format!("{algorithm}, seen before"), move |_| {
            known.iter().cycle().take(LINKS).cloned().collect()
        }));
        contenders.push(Contender::new(format!("{algorithm}, for the first time"), move |round| {
            (0..LINKS).map(|n| (login(&signer, n, (round + 1) * LINKS + n), n)).collect()
        }));
    }
    let server = Server::start(&sections);
    let key = server.api_key.clone();
    contenders
        .insert(0, Contender::new("API key".into(), move |_| (0..LINKS).map(|n| (key.clone(), n % USERS)).collect()));
    let mut connection = server.connection();
    // The first round only warms up. Until the keys are there, logins are refused.
    for round in 0..=ROUNDS {
        for contender in &mut contenders {
            let credentials = (contender.credentials)(round);
            while mint(&mut connection, &credentials[0].0, credentials[0].1) == 503 {
                std::thread::sleep(Duration::from_millis(50));
            }
            let before = server.cpu();
            for (credential, user) in &credentials {
                let status = mint(&mut connection, credential, *user);
                assert_eq!(status, 201, "{}", contender.name);
            }
            let cost = (server.cpu() - before) as f64 / credentials.len() as f64 / 1e3;
            if round > 0 {
                contender.costs.push(cost);
            }
        }
    }
    let base = contenders[0].costs.clone();
    println!("processor time of the server per link, median of {ROUNDS} interleaved rounds of {LINKS} links");
    for contender in &contenders {
        let ratios: Vec<f64> = contender.costs.iter().zip(&base).map(|(cost, base)| cost / base).collect();
        println!(
            "{:<28} {:>7.1} µs   {:>5.2} of an API key's (worst round {:.2})",
            contender.name,
            median(&contender.costs),
            median(&ratios),
            ratios.iter().copied().fold(0.0, f64::max),
        );
    }
}
