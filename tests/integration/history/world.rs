//! Three verifiers, each behind a network of its own, one Redis, and those who use them; everything is written down.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::checker::{Bearings, Event, RECOVERY, Target, Time};
use super::random::Random;
use crate::support::eventually;
use crate::support::fleet::Fleet;
use crate::support::http::{Response, try_request};
use crate::support::linkgate::{Builder, Linkgate, path_of};
use crate::support::proxy::Proxy;
use crate::support::redis::Redis;

/// How many of the newest links are mostly asked for.
const NEWEST: usize = 40;
/// How long something that may have been recorded is looked for.
const SEARCH: Duration = Duration::from_secs(15);

pub struct World {
    pub verifiers: Vec<Linkgate>,
    pub proxies: Vec<Proxy>,
    /// The names of the two clients that mint.
    clients: [String; 2],
    begun: Instant,
    events: Mutex<Vec<Event>>,
    links: Mutex<Vec<Known>>,
    to_lift: Mutex<Vec<ToLift>>,
    revocations: AtomicUsize,
    is_over: AtomicBool,
}

#[derive(Clone)]
struct Known {
    path: String,
    id: String,
    bearings: Bearings,
}

/// A revocation that somebody will lift; without an id when its answer was lost.
struct ToLift {
    revocation: usize,
    id: Option<String>,
    due: Time,
    given_up: Time,
}

impl World {
    /// A world with more lines for each verifier's `[revocation]`.
    pub fn new(settings: [&str; 3]) -> (Self, Redis) {
        let redis = Redis::logged();
        let proxies: Vec<Proxy> = settings.iter().map(|_| Proxy::before(&redis.address())).collect();
        let builders =
            proxies.iter().zip(settings).map(|(proxy, more)| Builder::following(&proxy.url()).revocation(more));
        let verifiers = Fleet::of(builders).verifiers;
        for verifier in &verifiers {
            for (folder, file) in (0..4).flat_map(|folder| (0..4).map(move |file| (folder, file))) {
                verifier.file(&format!("{folder}/{file}.txt"), b"contents");
            }
        }
        let first = &verifiers[0];
        let clients = [&first.mint_key, &first.admin_key].map(|key| {
            let link = first.api_with(key, "POST", "/v1/links", &json!({ "path": "0/0.txt" })).json();
            let found = first.api("POST", "/v1/links/inspect", &json!({ "link": link["url"] })).json();
            found["client"].as_str().unwrap().to_owned()
        });
        let world = Self {
            verifiers,
            proxies,
            clients,
            begun: Instant::now(),
            events: Mutex::default(),
            links: Mutex::default(),
            to_lift: Mutex::default(),
            revocations: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
        };
        (world, redis)
    }

    pub fn now(&self) -> Time {
        self.begun.elapsed()
    }

    pub fn record(&self, event: Event) {
        self.events.lock().unwrap().push(event);
    }

    pub fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap().clone()
    }

    /// Ends downloads and writes even when the one who waits for them fails.
    pub fn end_when_dropped(&self) -> impl Drop {
        struct Ending<'a>(&'a AtomicBool);
        impl Drop for Ending<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        Ending(&self.is_over)
    }

    /// Downloads from one verifier until the end.
    pub fn download(&self, verifier: usize, mut random: Random) {
        while !self.is_over.load(Ordering::Relaxed) {
            let count = self.links.lock().unwrap().len();
            if count > 0 {
                let oldest = if random.number(0..5) == 0 { 0 } else { count.saturating_sub(NEWEST) };
                self.look(verifier, random.number(oldest as u64..count as u64) as usize);
            }
            std::thread::sleep(random.millis(5..25));
        }
    }

    /// Downloads once.
    pub fn look(&self, verifier: usize, link: usize) {
        let path = self.links.lock().unwrap()[link].path.clone();
        let started = self.now();
        let answer = try_request(&self.verifiers[verifier].place(), "GET", &path, &[], b"");
        let status = answer.map_or(0, |answer| answer.status);
        self.record(Event::Downloaded { link, verifier, status, started, ended: self.now() });
    }

    /// Mints, revokes and lifts at one verifier until the end.
    pub fn write(&self, verifier: usize, mut random: Random) {
        while !self.is_over.load(Ordering::Relaxed) {
            match random.number(0..20) {
                0..16 => {
                    self.mint(verifier, &mut random);
                }
                _ => self.revoke_something(verifier, &mut random),
            }
            self.lift_what_is_due(verifier);
            std::thread::sleep(random.millis(50..150));
        }
    }

    /// Mints a link at random; `None` when it is refused.
    pub fn mint(&self, verifier: usize, random: &mut Random) -> Option<usize> {
        let mut below = |end| random.number(0..end) as u8;
        let bearings = Bearings { subject: below(8), folder: below(4), file: below(4), client: below(2) };
        let linkgate = &self.verifiers[verifier];
        let key = [&linkgate.mint_key, &linkgate.admin_key][usize::from(bearings.client)];
        let path = format!("{}/{}.txt", bearings.folder, bearings.file);
        let wish = json!({ "path": path, "subject": format!("s{}", bearings.subject) });
        let asked = self.now();
        let answer = linkgate.api_with(key, "POST", "/v1/links", &wish);
        let answered = self.now();
        if answer.status != 201 {
            assert!([409, 503].contains(&answer.status), "minting was answered {}: {}", answer.status, answer.text());
            return None;
        }
        let minted = answer.json();
        let mut links = self.links.lock().unwrap();
        links.push(Known { path: path_of(&minted), id: minted["id"].as_str().unwrap().to_owned(), bearings });
        let link = links.len() - 1;
        self.record(Event::Minted { link, bearings, asked, answered });
        Some(link)
    }

    fn revoke_something(&self, verifier: usize, random: &mut Random) {
        let (link, known) = {
            let links = self.links.lock().unwrap();
            let Some(newest) = links.len().checked_sub(1) else { return };
            let link = newest - random.number(0..NEWEST as u64) as usize % (newest + 1);
            (link, links[link].clone())
        };
        let Bearings { subject, folder, file, client } = known.bearings;
        let subject_name = format!("s{subject}");
        let (what, target, is_standing) = match random.number(0..100) {
            0..45 => (json!({ "link": format!("http://links.test{}", known.path) }), Target::Link(link), true),
            45..70 => (json!({ "id": known.id }), Target::Link(link), true),
            70..80 => (json!({ "subject": subject_name }), Target::Subject(subject), false),
            80..84 => (json!({ "subject": subject_name, "issued_before": null }), Target::Subject(subject), true),
            84..92 => (json!({ "path": format!("{folder}/{file}.txt") }), Target::Path { folder, file }, true),
            92..96 => (json!({ "path_prefix": format!("{folder}/") }), Target::Folder(folder), true),
            96 => (json!({ "client": self.clients[usize::from(client)] }), Target::Client(client), false),
            97 => (json!({ "key": 1 }), Target::Everything, true),
            98 => (json!({ "path_prefix": "/" }), Target::Everything, true),
            _ => (json!({ "everything": true }), Target::Everything, false),
        };
        let is_lifted = (is_standing && !matches!(target, Target::Link(_))) || random.number(0..3) == 0;
        self.revoke(verifier, what, target, is_standing, is_lifted.then(|| random.millis(300..2_500)));
    }

    /// Revokes one link unless that was done already.
    pub fn revoke_once(&self, verifier: usize, link: usize) {
        let is_it =
            |event: &Event| matches!(event, Event::Revoked { target: Target::Link(known), .. } if *known == link);
        if self.events.lock().unwrap().iter().any(is_it) {
            return;
        }
        let id = self.links.lock().unwrap()[link].id.clone();
        self.revoke(verifier, json!({ "id": id }), Target::Link(link), true, None);
    }

    fn revoke(
        &self,
        verifier: usize,
        mut what: Value,
        target: Target,
        is_standing: bool,
        lift_after: Option<Duration>,
    ) {
        let revocation = self.revocations.fetch_add(1, Ordering::Relaxed);
        what["reason"] = json!(reason(revocation));
        let asked = self.now();
        let answer = self.verifiers[verifier].api("POST", "/v1/revocations", &what);
        let answered = self.now();
        let is_sure = answer.status == 201;
        assert!(is_sure || answer.status == 503, "revoking was answered {}: {}", answer.status, answer.text());
        self.record(Event::Revoked { revocation, verifier, target, is_standing, is_sure, asked, answered });
        if let Some(after) = lift_after {
            let id = is_sure.then(|| answer.json()["id"].as_str().unwrap().to_owned());
            let due = answered + after;
            self.to_lift.lock().unwrap().push(ToLift { revocation, id, due, given_up: due + SEARCH });
        }
    }

    fn lift_what_is_due(&self, verifier: usize) {
        let now = self.now();
        let due: Vec<ToLift> = self.to_lift.lock().unwrap().extract_if(.., |lifting| lifting.due < now).collect();
        for mut lifting in due {
            lifting.id = lifting.id.or_else(|| self.find(verifier, lifting.revocation));
            if !self.lift(verifier, &lifting) && now < lifting.given_up {
                let again = ToLift { due: now + Duration::from_millis(500), ..lifting };
                self.to_lift.lock().unwrap().push(again);
            }
        }
    }

    /// Looks for a revocation whose answer was lost.
    fn find(&self, verifier: usize, revocation: usize) -> Option<String> {
        let wanted = reason(revocation);
        let found = self.verifiers[verifier].api("GET", &format!("/v1/revocations?q={wanted}"), &Value::Null);
        (found.status == 200).then(|| found.json()["revocations"][0]["id"].as_str().map(str::to_owned))?
    }

    fn lift(&self, verifier: usize, lifting: &ToLift) -> bool {
        let Some(id) = &lifting.id else { return false };
        let asked = self.now();
        let answer = self.verifiers[verifier].api("DELETE", &format!("/v1/revocations/{id}"), &Value::Null);
        // Not found: an earlier attempt had worked, whatever its answer was.
        let is_sure = is_done(&answer);
        self.record(Event::Lifted { revocation: lifting.revocation, is_sure, asked, answered: self.now() });
        is_sure
    }

    /// Waits until everything should be well, and asks every verifier for every link.
    pub fn settle(&self) {
        std::thread::sleep(RECOVERY);
        eventually("everybody is ready", || self.verifiers.iter().all(Linkgate::is_ready));
        let links = self.links.lock().unwrap().clone();
        for (link, known) in links.iter().enumerate() {
            for (verifier, linkgate) in self.verifiers.iter().enumerate() {
                let status = linkgate.status(&known.path);
                self.record(Event::Settled { link, verifier, status });
            }
        }
    }
}

fn is_done(answer: &Response) -> bool {
    assert!([204, 404, 503].contains(&answer.status), "lifting was answered {}: {}", answer.status, answer.text());
    answer.status != 503
}

/// What a revocation is found by; no reason is part of another one.
fn reason(revocation: usize) -> String {
    format!("random-{revocation}-revocation")
}
