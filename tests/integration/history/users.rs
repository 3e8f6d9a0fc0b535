//! Those who use a world: they mint, refresh, download, revoke and lift at random, and write down what they are answered.

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::time::Duration;

use linkgate::clock::UnixMillis;
use serde_json::{Value, json};

use super::events::{Bearings, Event, Reach, Target, Time};
use super::random::Random;
use super::site::CLIENT_NAMES;
use super::world::{Known, World};
use crate::support::http::{Response, try_request};
use crate::support::linkgate::path_of;

/// How many of the newest links are mostly asked for.
const NEWEST: usize = 40;
/// How long something that may have been recorded is looked for.
const SEARCH: Duration = Duration::from_secs(15);
/// How long a verifier is left alone between two downloads, and between two calls of the API, in milliseconds: several
/// worlds share a small machine.
const DOWNLOAD_PAUSE: Range<u64> = 20..70;
const WRITE_PAUSE: Range<u64> = 50..200;
/// How many clients download.
const CLIENTS: u64 = 6;

/// A revocation that will be lifted; without an id when its answer was lost.
pub struct ToLift {
    revocation: usize,
    id: Option<String>,
    due: Time,
    given_up: Time,
}

impl World {
    /// Downloads from one verifier until the end.
    pub fn download(&self, verifier: usize, mut random: Random) {
        while !self.is_over() {
            let count = self.links.lock().unwrap().len();
            if count > 0 {
                let oldest = if random.number(0..5) == 0 { 0 } else { count.saturating_sub(NEWEST) };
                let link = random.number(oldest as u64..count as u64) as usize;
                self.look(verifier, link, random.number(0..CLIENTS) as u8);
            }
            std::thread::sleep(random.millis(DOWNLOAD_PAUSE));
        }
    }

    pub fn known(&self, link: usize) -> Known {
        self.links.lock().unwrap()[link].clone()
    }

    /// Downloads once.
    pub fn look(&self, verifier: usize, link: usize, client: u8) {
        let path = self.links.lock().unwrap()[link].path.clone();
        let address = format!("192.0.2.{client}");
        let started = self.now();
        let answer = try_request(&self.verifiers[verifier].place, "GET", &path, &[("X-Real-IP", &address)], b"");
        let status = answer.map_or(0, |answer| answer.status);
        self.record(Event::Downloaded { link, verifier, client, status, started, ended: self.now() });
    }

    /// Mints, refreshes, revokes and lifts at one verifier until the end.
    pub fn write(&self, verifier: usize, mut random: Random) {
        while !self.is_over() {
            match random.number(0..20) {
                0..14 => {
                    self.mint(verifier, &mut random);
                }
                14..16 => self.refresh(verifier, &mut random),
                _ if self.verifiers[verifier].nature.writes => self.revoke_something(verifier, &mut random),
                _ => {}
            }
            self.lift_what_is_due(verifier);
            std::thread::sleep(random.millis(WRITE_PAUSE));
        }
    }

    /// Mints a link at random; `None` when it is refused.
    pub fn mint(&self, verifier: usize, random: &mut Random) -> Option<usize> {
        let mut below = |end| random.number(0..end) as u8;
        let (subject, folder, file, client) = (below(8), below(4), below(4), below(2));
        let most = (below(8) == 0).then(|| 1 + usize::from(below(3)));
        let minting = &self.verifiers[verifier];
        let key = [&minting.mint_key, &minting.admin_key][usize::from(client)];
        let mut wish = json!({ "path": format!("{folder}/{file}.txt"), "subject": format!("s{subject}") });
        match most {
            Some(most) => wish["max_downloads"] = json!(most),
            None => wish["stable"] = json!(below(8) == 0),
        }
        let asked = self.now();
        let answer = self.call(verifier, key, "POST", "/v1/links", &wish)?;
        let answered = self.now();
        if answer.status != 201 {
            assert!([409, 503].contains(&answer.status), "minting was answered {}: {}", answer.status, answer.text());
            return None;
        }
        let bearings = Bearings { identity: 0, subject, folder, file, client };
        Some(self.note_minted(&answer.json(), verifier, bearings, most, (asked, answered)))
    }

    fn note_minted(
        &self,
        minted: &Value,
        verifier: usize,
        bearings: Bearings,
        most: Option<usize>,
        (asked, answered): (Time, Time),
    ) -> usize {
        let id = minted["id"].as_str().unwrap().to_owned();
        let issued_at = UnixMillis::parse_rfc3339(minted["issued_at"].as_str().unwrap()).unwrap().0;
        let mut links = self.links.lock().unwrap();
        let link = links.len();
        let identity = links.iter().position(|known| known.id == id).unwrap_or(link);
        let bearings = Bearings { identity, ..bearings };
        links.push(Known { path: path_of(minted), id, issued_at, bearings, most });
        self.record(Event::Minted { link, bearings, verifier, issued_at, most, asked, answered });
        link
    }

    /// Asks for a new link in place of one of the newest.
    fn refresh(&self, verifier: usize, random: &mut Random) {
        let Some((link, known)) = self.one_of_the_newest(random).filter(|(_, known)| known.most.is_none()) else {
            return;
        };
        let refreshing = &self.verifiers[verifier];
        let key = [&refreshing.mint_key, &refreshing.admin_key][usize::from(known.bearings.client)];
        let wish = json!({ "links": [format!("http://links.test{}", known.path)] });
        let asked = self.now();
        let answer = self.call(verifier, key, "POST", "/v1/links/refresh", &wish);
        let answered = self.now();
        let Some(answer) = answer.filter(|answer| answer.status == 200) else { return };
        let refreshed = &answer.json()["results"][0];
        if refreshed["url"].is_string() {
            self.record(Event::Refreshed { link, verifier, started: asked, ended: answered });
            self.note_minted(refreshed, verifier, known.bearings, None, (asked, answered));
        }
    }

    fn one_of_the_newest(&self, random: &mut Random) -> Option<(usize, Known)> {
        let links = self.links.lock().unwrap();
        let newest = links.len().checked_sub(1)?;
        let link = newest - random.number(0..NEWEST as u64) as usize % (newest + 1);
        Some((link, links[link].clone()))
    }

    fn revoke_something(&self, verifier: usize, random: &mut Random) {
        let Some((_, known)) = self.one_of_the_newest(random) else { return };
        let Bearings { identity, subject, folder, file, client } = known.bearings;
        let (by_subject, by_link) = (Target::Subject(subject), Target::Link(identity));
        let subject_name = format!("s{subject}");
        let path = format!("{folder}/{file}.txt");
        let (what, target, reach) = match random.number(0..100) {
            0..35 => (json!({ "link": format!("http://links.test{}", known.path) }), by_link, Reach::Whenever),
            35..55 => (json!({ "id": known.id }), by_link, Reach::Whenever),
            55..68 => (json!({ "subject": subject_name }), by_subject, Reach::UntilNow),
            68..72 => (json!({ "subject": subject_name, "issued_before": null }), by_subject, Reach::Whenever),
            // Mostly before this very link, or just after it.
            72..80 => {
                let time = known.issued_at + random.number(0..3);
                let text = UnixMillis(time).to_string();
                (json!({ "subject": subject_name, "issued_before": text }), by_subject, Reach::Before(time))
            }
            80..86 => (json!({ "path": path }), Target::Path { folder, file }, Reach::Whenever),
            86..90 => (json!({ "path_prefix": format!("{folder}/") }), Target::Folder(folder), Reach::Whenever),
            90..95 => (json!({ "client": CLIENT_NAMES[usize::from(client)] }), Target::Client(client), Reach::UntilNow),
            95 => (json!({ "key": 1 }), Target::Everything, Reach::Whenever),
            96 => (json!({ "path_prefix": "/" }), Target::Everything, Reach::Whenever),
            _ => (json!({ "everything": true }), Target::Everything, Reach::UntilNow),
        };
        let is_block = reach == Reach::Whenever && !matches!(target, Target::Link(_));
        let is_lifted = is_block || random.number(0..3) == 0;
        self.revoke(verifier, what, target, reach, is_lifted.then(|| random.millis(300..2_500)));
    }

    /// Revokes one link unless that was done already.
    pub fn revoke_once(&self, verifier: usize, link: usize) {
        let is_it =
            |event: &Event| matches!(event, Event::Revoked { target: Target::Link(known), .. } if *known == link);
        if self.events().iter().any(is_it) {
            return;
        }
        let Known { id, bearings, .. } = self.known(link);
        self.revoke(verifier, json!({ "id": id }), Target::Link(bearings.identity), Reach::Whenever, None);
    }

    pub fn revoke(&self, verifier: usize, mut what: Value, target: Target, reach: Reach, lift_after: Option<Duration>) {
        let revocation = self.revocations.fetch_add(1, Ordering::Relaxed);
        what["reason"] = json!(reason(revocation));
        let _is_going_on = self.revoking.read().unwrap();
        let asked = self.now();
        let answer = self.admin(verifier, "POST", "/v1/revocations", &what);
        let answered = self.now();
        // A time that this verifier's clock does not allow yet is refused, and nothing happens.
        if answer.as_ref().is_some_and(|answer| answer.status == 400) && matches!(reach, Reach::Before(_)) {
            return;
        }
        let status = answer.as_ref().map_or(503, |answer| answer.status);
        let is_sure = status == 201;
        assert!(is_sure || status == 503, "revoking was answered {status}: {}", answer.unwrap().text());
        self.record(Event::Revoked { revocation, verifier, target, reach, is_sure, asked, answered });
        if let Some(after) = lift_after {
            let id = answer.filter(|_| is_sure).map(|answer| answer.json()["id"].as_str().unwrap().to_owned());
            let due = answered + after;
            self.to_lift.lock().unwrap().push(ToLift { revocation, id, due, given_up: due + SEARCH });
        }
    }

    fn lift_what_is_due(&self, verifier: usize) {
        if !self.verifiers[verifier].nature.writes {
            return;
        }
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
        let found = self.admin(verifier, "GET", &format!("/v1/revocations?q={wanted}"), &Value::Null)?;
        (found.status == 200).then(|| found.json()["revocations"][0]["id"].as_str().map(str::to_owned))?
    }

    fn lift(&self, verifier: usize, lifting: &ToLift) -> bool {
        let Some(id) = &lifting.id else { return false };
        let asked = self.now();
        let answer = self.admin(verifier, "DELETE", &format!("/v1/revocations/{id}"), &Value::Null);
        let status = answer.map_or(503, |answer| answer.status);
        assert!([204, 404, 503].contains(&status), "lifting was answered {status}");
        // Not found: an earlier attempt had worked, whatever its answer was; or the store has lost the record.
        let is_sure = status == 204 || status == 404 && !self.has_lost();
        self.record(Event::Lifted { revocation: lifting.revocation, is_sure, asked, answered: self.now() });
        is_sure
    }

    /// Lifts everything but links: a block whose record was lost, or that came back, would let no link be minted.
    pub fn lift_what_came_back(&self) {
        let _alone = self.revoking.write().unwrap();
        let asked = self.now();
        for kind in ["subject", "path", "path_prefix", "client", "key", "everything"] {
            let listed = self.admin(0, "GET", &format!("/v1/revocations?kind={kind}&limit=200"), &Value::Null);
            let Some(listed) = listed.filter(|listed| listed.status == 200) else { continue };
            for listed in listed.json()["revocations"].as_array().unwrap() {
                let id = listed["id"].as_str().unwrap();
                self.admin(0, "DELETE", &format!("/v1/revocations/{id}"), &Value::Null);
            }
        }
        for event in self.events() {
            if let Event::Revoked { revocation, target, .. } = event
                && !matches!(target, Target::Link(_))
            {
                self.record(Event::Lifted { revocation, is_sure: false, asked, answered: self.now() });
            }
        }
    }

    pub fn has_lost(&self) -> bool {
        self.events().iter().any(|event| matches!(event, Event::Lost { .. }))
    }

    fn admin(&self, verifier: usize, method: &str, path: &str, body: &Value) -> Option<Response> {
        self.call(verifier, &self.verifiers[verifier].admin_key, method, path, body)
    }

    /// Calls the API of a verifier that may have ended.
    fn call(&self, verifier: usize, key: &str, method: &str, path: &str, body: &Value) -> Option<Response> {
        let authorization = format!("Bearer {key}");
        let headers = [("Authorization", authorization.as_str()), ("Content-Type", "application/json")];
        let body = if body.is_null() { String::new() } else { body.to_string() };
        try_request(&self.verifiers[verifier].place, method, path, &headers, body.as_bytes()).ok()
    }
}

/// What a revocation is found by; no reason is part of another one.
fn reason(revocation: usize) -> String {
    format!("random-{revocation}-revocation")
}
