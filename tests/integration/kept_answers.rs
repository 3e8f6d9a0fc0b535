//! Answers that are kept for their `Idempotency-Key`: they take room from nothing that matters, a request is carried out
//! to its end, and an answer is given again only to who may still have it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::http::{Connection, Response, request};
use crate::support::identity::{KeyServer, Signer, seconds};
use crate::support::linkgate::{Builder, Linkgate, path_of, repository_file};
use crate::support::proxy::{Network, Proxy};
use crate::support::redis::Redis;

const MIB: u64 = 1 << 20;
/// What the answers of one client may take, and those of all.
const CLIENT: u64 = 16 * MIB;
const CLIENTS: u64 = 64 * MIB;
/// What the answers of one login may take, and those of all.
const LOGIN: u64 = MIB;
const LOGINS: u64 = 16 * MIB;
/// What Redis itself takes, and an answer more than is accounted for it.
const SLACK: u64 = 8 * MIB;

/// A request of an API key or login, with an `Idempotency-Key`.
fn ask(linkgate: &Linkgate, credential: &str, key: &str, path: &str, body: &Value) -> Response {
    let authorization = format!("Bearer {credential}");
    let headers =
        [("Authorization", authorization.as_str()), ("Content-Type", "application/json"), ("Idempotency-Key", key)];
    request(&linkgate.place(), "POST", path, &headers, body.to_string().as_bytes())
}

/// A thousand links to files whose names have so many characters: answers of some 3 MB where these are 900.
fn batch(folder: &str, length: usize) -> Value {
    json!({ "links": (0..1_000).map(|n| json!({ "path": format!("{folder}/{n:0>length$}") })).collect::<Vec<_>>() })
}

fn is_replayed(answer: &Response) -> bool {
    answer.header("idempotent-replayed").is_some()
}

/// Revokes so many subjects, each with a key of its own; all of it must work.
fn revoke_all(linkgate: &Linkgate, count: usize) {
    for number in 0..count {
        let what = json!({ "subject": format!("u{number}") });
        let answer = ask(linkgate, &linkgate.admin_key, &format!("revoke-{number}"), "/v1/revocations", &what);
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
}

/// Looks whether what is accounted for is what is there, and within the budgets; answers how many bytes clients and logins
/// take.
fn audit(redis: &Redis) -> [u64; 2] {
    [audit_party(redis, "c", CLIENT, CLIENTS), audit_party(redis, "l", LOGIN, LOGINS)]
}

fn audit_party(redis: &Redis, party: &str, each: u64, all: u64) -> u64 {
    const COUNT: &str = "
        local bytes, held = 0, redis.call('HVALS', KEYS[1])
        for _, one in ipairs(held) do bytes = bytes + #one - 14 + 320 end
        return string.format('%d %d %d', bytes, #held, redis.call('ZCARD', KEYS[2]))";
    let callers = redis.cli(&["ZRANGE", &format!("linkgate:{{rv}}:w:{party}:b"), "0", "-1", "REV", "WITHSCORES"]);
    let callers: Vec<&str> = callers.lines().collect();
    let (mut sum, mut total) = (0, 0);
    for pair in callers.chunks_exact(2) {
        let taken: i64 = pair[1].parse().unwrap();
        if pair[0].is_empty() {
            total = -taken as u64;
            continue;
        }
        let key = format!("linkgate:{{rv}}:w:{party}:{}", pair[0]);
        // What is over may be gone before it is looked after.
        let counted = redis.cli(&["EVAL", COUNT, "2", &key, &format!("{key}:o")]);
        let [bytes, held, queued] = counted.split(' ').collect::<Vec<_>>()[..] else { panic!("{counted}") };
        assert_eq!(held, queued);
        assert!(held == "0" || bytes == taken.to_string(), "{bytes} bytes instead of {taken}");
        assert!(taken as u64 <= each, "{taken}");
        sum += taken as u64;
    }
    assert_eq!(total, sum);
    assert!(sum <= all, "{sum}");
    sum
}

#[test]
fn who_mints_takes_no_room_from_revocations_in_a_redis_that_has_little() {
    let redis = Redis::with(&["--save", "", "--maxmemory", "64mb", "--maxmemory-policy", "noeviction"]);
    let linkgate = Builder::following(&redis.url()).start();
    for number in 0..8 {
        let answer = ask(&linkgate, &linkgate.mint_key, &number.to_string(), "/v1/links/batch", &batch("a", 900));
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let used: u64 = {
        let memory = redis.cli(&["INFO", "memory"]);
        let line = memory.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap().trim().to_owned();
        line.parse().unwrap()
    };
    assert!(used < CLIENT + SLACK, "{used} bytes are used");
    let [clients, _] = audit(&redis);
    assert!(clients > CLIENT / 2, "what fits is kept: {clients} bytes");
    revoke_all(&linkgate, 20);
    let again = |key: &str| ask(&linkgate, &linkgate.mint_key, key, "/v1/links/batch", &batch("a", 900));
    assert!(is_replayed(&again("7")), "the newest are kept");
    assert!(!is_replayed(&again("0")), "the oldest have made room");
    audit(&redis);
}

#[test]
fn who_mints_takes_no_room_from_revocations_on_disk() {
    let linkgate = Builder::new().start();
    for number in 0..8 {
        let answer = ask(&linkgate, &linkgate.mint_key, &number.to_string(), "/v1/links/batch", &batch("a", 900));
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let bytes: u64 =
        std::fs::read_dir(linkgate.data_dir()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes < 4 * CLIENT, "{bytes} bytes lie on the disk");
    let table = std::fs::metadata(linkgate.data_dir().join("revocations.redb")).unwrap().len();
    assert!(table < 4 * MIB, "the revocations' own file has {table} bytes");
    revoke_all(&linkgate, 20);
    let again = |key: &str| ask(&linkgate, &linkgate.mint_key, key, "/v1/links/batch", &batch("a", 900));
    assert!(is_replayed(&again("7")) && !is_replayed(&again("0")));
}

/// Puts, replaces and frees values of several callers by the script itself, with budgets of a few entries.
#[test]
fn no_caller_and_no_party_ever_takes_more_than_its_budget_in_a_redis() {
    const EACH: u64 = 3 * 320;
    const ALL: u64 = 7 * 320;
    let redis = Redis::start();
    let text = repository_file("src/revocation/redis/scripts/answer.lua");
    let script = redis.cli(&["SCRIPT", "LOAD", &text]);
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut draw = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    for _ in 0..120 {
        let caller = format!("caller{}", draw(5));
        let own = format!("linkgate:{{rv}}:w:c:{caller}");
        let keys = [own.clone(), format!("{own}:o"), "linkgate:{rv}:w:c:b".into(), "linkgate:{rv}:w:c:x".into()];
        let name = format!("name{}", draw(6));
        let value = if draw(8) == 0 { String::new() } else { "v".repeat(1 + draw(900) as usize) };
        let life = if draw(2) == 0 { "3600000".to_owned() } else { (1 + draw(300)).to_string() };
        let known = redis.cli(&["HGET", &own, &name]);
        let over = if draw(2) == 0 { "" } else { known.get(14..).unwrap_or_default() };
        let words = [EACH.to_string(), ALL.to_string(), "320".to_owned()];
        let arguments = [&["EVALSHA", &script, "4"][..], &keys.each_ref().map(String::as_str)];
        let arguments = [&arguments.concat()[..], &[&caller, &name, &value, &life, over]].concat();
        let answer = redis.cli(&[&arguments[..], &words.each_ref().map(String::as_str)].concat());
        let is_kept = answer.lines().last() == Some("1");
        assert!(is_kept || ["0", ""].contains(&answer.lines().last().unwrap_or_default()), "{answer}");
        audit_party(&redis, "c", EACH, ALL);
        let taken = |caller: &str| redis.cli(&["ZSCORE", "linkgate:{rv}:w:c:b", caller]).parse().unwrap_or(0);
        let most = taken(&redis.cli(&["ZRANGE", "linkgate:{rv}:w:c:b", "0", "0", "REV"]));
        let is_there = redis.cli(&["HEXISTS", &own, &name]) == "1";
        let had_most = taken(&caller) + value.len() as u64 + 320 >= most;
        let is_over = life.len() < 4;
        assert!(!is_kept || is_there || had_most || is_over, "{caller} had to make room for callers who have more");
    }
}

#[test]
fn no_login_takes_the_room_of_another_or_of_a_client() {
    let signer = Signer::new("EdDSA", "one");
    let server = KeyServer::publishing(&[&signer]);
    let provider = format!(
        "[[identity_providers]]\nname = \"app\"\nissuer = \"https://login.example.com/\"\naudience = \"photos\"\n\
         algorithms = [\"EdDSA\"]\nallow = [\"users/{{sub}}/**\"]\njwks_url = \"{}\"\n",
        server.url(),
    );
    let login = |user: &str| {
        signer.login(&json!({
            "iss": "https://login.example.com/", "aud": "photos", "sub": user, "iat": seconds(), "exp": seconds() + 600,
        }))
    };
    let redis = Redis::logged();
    let linkgate = Builder::following(&redis.url()).section(&provider).start();
    eventually("the keys are there", || linkgate.get("/readyz").json()["identity_providers"][0]["status"] == "ready");
    let (mallory, bob) = (login("mallory"), login("bob"));
    let wish = |user: &str| json!({ "path": format!("users/{user}/a.jpg") });
    let mine = ask(&linkgate, &bob, "one", "/v1/links", &wish("bob"));
    let clients = ask(&linkgate, &linkgate.mint_key, "one", "/v1/links", &wish("bob"));
    assert_eq!((mine.status, clients.status), (201, 201));
    for number in 0..6 {
        let answer = ask(&linkgate, &mallory, &number.to_string(), "/v1/links/batch", &batch("users/mallory", 50));
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let [_, logins] = audit(&redis);
    assert!((LOGIN / 2..=LOGIN + 4_096).contains(&logins), "{logins}");
    assert_eq!(ask(&linkgate, &bob, "one", "/v1/links", &wish("bob")).body, mine.body);
    assert_eq!(ask(&linkgate, &linkgate.mint_key, "one", "/v1/links", &wish("bob")).body, clients.body);
}

/// Asks for a revocation with the key `k`, and hangs up before it is answered.
fn revoke_and_leave(linkgate: &Linkgate, what: &Value) {
    let body = what.to_string();
    let mut connection = Connection::open(&linkgate.place());
    connection.send(format!(
        "POST /v1/revocations HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Idempotency-Key: k\r\nContent-Length: {}\r\n\r\n{body}",
        linkgate.admin_key,
        body.len()
    ));
    std::thread::sleep(Duration::from_millis(100));
    drop(connection);
}

#[test]
fn a_request_whose_caller_has_left_is_carried_out_and_its_answer_kept() {
    let redis = Redis::start();
    let proxy = Proxy::before(&redis.address());
    let linkgate = Builder::following(&proxy.url()).start();
    proxy.set(Network::Delay(Duration::from_millis(200)));
    let what = json!({ "subject": "u" });
    revoke_and_leave(&linkgate, &what);
    let left = Instant::now();
    let again = || ask(&linkgate, &linkgate.admin_key, "k", "/v1/revocations", &what);
    let mut answer = again();
    while answer.status == 409 && left.elapsed() < Duration::from_secs(8) {
        std::thread::sleep(Duration::from_millis(100));
        answer = again();
    }
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert!(is_replayed(&answer), "it was carried out once");
    let listed = linkgate.api("GET", "/v1/revocations", &Value::Null).json();
    assert_eq!(listed["revocations"].as_array().unwrap().len(), 1, "{listed}");
}

#[test]
fn a_process_that_ends_carries_out_what_it_has_begun_for_a_caller_who_has_left() {
    let redis = Redis::start();
    let proxy = Proxy::before(&redis.address());
    let mut linkgate = Builder::following(&proxy.url()).start();
    proxy.set(Network::Delay(Duration::from_millis(200)));
    let what = json!({ "subject": "u" });
    revoke_and_leave(&linkgate, &what);
    linkgate.process.stop();
    proxy.set(Network::Pass);
    linkgate.launch();
    linkgate.until_ready();
    let answer = ask(&linkgate, &linkgate.admin_key, "k", "/v1/revocations", &what);
    assert_eq!((answer.status, is_replayed(&answer)), (201, true), "{}", answer.text());
}

crate::support::in_each!([
    no_answer_is_given_again_to_a_client_whose_rights_have_changed,
    a_client_that_is_added_again_gets_no_answer_of_its_predecessor,
    a_key_with_other_rights_may_be_used_for_another_request,
    what_was_revoked_and_lifted_is_revoked_anew_by_the_same_key,
    an_api_key_that_was_revoked_is_not_handed_out_again,
]: embedded = super::embedded(), over_redis = super::over_redis());

fn embedded() -> (Linkgate, Option<Redis>) {
    (Builder::new().start(), None)
}

fn over_redis() -> (Linkgate, Option<Redis>) {
    let redis = Redis::start();
    (Builder::following(&redis.url()).start(), Some(redis))
}

fn add_app(linkgate: &Linkgate) -> String {
    let wish = json!({ "name": "app", "roles": ["mint"], "policy": { "allow": ["**"] } });
    let answer = linkgate.api("POST", "/v1/clients", &wish);
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()["key"].as_str().unwrap().to_owned()
}

fn no_answer_is_given_again_to_a_client_whose_rights_have_changed((linkgate, _redis): (Linkgate, Option<Redis>)) {
    let key = add_app(&linkgate);
    let wish = json!({ "path": "a/b.txt" });
    let again = || ask(&linkgate, &key, "k", "/v1/links", &wish);
    let first = again();
    assert_eq!((first.status, again().body == first.body), (201, true));
    let patch = |body: Value| assert_eq!(linkgate.api("PATCH", "/v1/clients/app", &body).status, 200);
    patch(json!({ "policy": { "allow": ["c/**"] } }));
    eventually("the policy has changed", || again().status == 403);
    patch(json!({ "policy": { "allow": ["**"] }, "roles": ["inspect"] }));
    eventually("the role has changed", || again().json()["role"] == "mint");
    patch(json!({ "roles": ["mint"] }));
    eventually("it may mint again", || again().status == 201);
    let rotated = linkgate.api("POST", "/v1/clients/app/keys", &json!({}));
    assert_eq!(rotated.status, 201, "{}", rotated.text());
    assert!(is_replayed(&again()), "another key is no other right");
}

fn a_client_that_is_added_again_gets_no_answer_of_its_predecessor((linkgate, _redis): (Linkgate, Option<Redis>)) {
    let wish = json!({ "path": "a.txt" });
    let first = ask(&linkgate, &add_app(&linkgate), "k", "/v1/links", &wish);
    assert_eq!(first.status, 201, "{}", first.text());
    assert_eq!(linkgate.api("DELETE", "/v1/clients/app", &Value::Null).status, 204);
    let answer = ask(&linkgate, &add_app(&linkgate), "k", "/v1/links", &wish);
    assert_eq!((answer.status, is_replayed(&answer)), (201, false), "{}", answer.text());
    assert_ne!(answer.body, first.body);
}

fn a_key_with_other_rights_may_be_used_for_another_request((linkgate, _redis): (Linkgate, Option<Redis>)) {
    let key = add_app(&linkgate);
    assert_eq!(ask(&linkgate, &key, "k", "/v1/links", &json!({ "path": "a.txt" })).status, 201);
    let other = || ask(&linkgate, &key, "k", "/v1/links", &json!({ "path": "b.txt" }));
    assert_eq!(other().status, 422);
    assert_eq!(linkgate.api("PATCH", "/v1/clients/app", &json!({ "policy": { "allow": ["b.*"] } })).status, 200);
    eventually("the policy has changed", || other().status == 201);
    assert!(is_replayed(&other()));
}

fn what_was_revoked_and_lifted_is_revoked_anew_by_the_same_key((linkgate, _redis): (Linkgate, Option<Redis>)) {
    let link = linkgate.link("a.txt");
    let revoke = || ask(&linkgate, &linkgate.admin_key, "k", "/v1/revocations", &json!({ "path": "a.txt" }));
    let first = revoke();
    assert_eq!((first.status, is_replayed(&revoke())), (201, true), "{}", first.text());
    assert_eq!(linkgate.status(&link), 410);
    linkgate.reinstate(&first.json());
    assert_eq!(linkgate.status(&link), 404, "permitted, and there is no such file");
    let again = revoke();
    assert_eq!((again.status, is_replayed(&again)), (201, false), "{}", again.text());
    assert_eq!(linkgate.status(&link), 410);
}

fn an_api_key_that_was_revoked_is_not_handed_out_again((linkgate, _redis): (Linkgate, Option<Redis>)) {
    let wish = json!({ "name": "app", "roles": ["mint"], "policy": { "allow": ["**"] } });
    let add = || ask(&linkgate, &linkgate.admin_key, "add", "/v1/clients", &wish);
    let rotate = || ask(&linkgate, &linkgate.admin_key, "rotate", "/v1/clients/app/keys", &json!({ "drop_old": true }));
    let first = add();
    assert_eq!((first.status, add().body == first.body), (201, true), "{}", first.text());
    let second = rotate();
    assert_eq!((second.status, rotate().body == second.body), (201, true), "{}", second.text());
    let refused = add();
    assert_eq!((refused.status, is_replayed(&refused)), (409, false), "{}", refused.text());
    assert_eq!(linkgate.api("DELETE", "/v1/clients/app", &Value::Null).status, 204);
    assert_eq!(rotate().status, 404);
    let anew = add();
    assert_eq!((anew.status, is_replayed(&anew)), (201, false), "{}", anew.text());
    assert_ne!(anew.body, first.body);
}

/// A 201 promises that the process which gives it refuses from then on, whichever process has recorded the revocation.
#[test]
fn a_revocation_that_is_answered_again_takes_effect_where_its_stream_is_held_back() {
    let redis = Redis::start();
    let proxy = Proxy::before(&redis.address());
    let first = Builder::following(&redis.url()).start();
    let second = Builder::following(&proxy.url()).beside(&first).start();
    for (number, what) in [json!({ "subject": "ann" }), json!({ "path": "a.txt" }), json!({})].iter().enumerate() {
        let minted = first.mint(&json!({ "path": "a.txt", "subject": "ann" }));
        let link = path_of(&minted);
        let what = if number == 2 { json!({ "id": minted["id"] }) } else { what.clone() };
        let revoke = |at: &Linkgate| ask(at, &first.admin_key, &format!("k{number}"), "/v1/revocations", &what);
        eventually("both permit it", || [&first, &second].iter().all(|at| at.status(&link) == 404));
        proxy.hold_stream(true);
        let answer = revoke(&first);
        assert_eq!((answer.status, first.status(&link)), (201, 410), "{}", answer.text());
        assert_eq!(second.status(&link), 404, "it has not heard of it");
        let again = revoke(&second);
        assert_eq!((again.status, is_replayed(&again)), (201, true), "{}", again.text());
        assert_eq!(second.status(&link), 410, "{what}");
        proxy.hold_stream(false);
        first.reinstate(&answer.json());
        eventually("what is lifted works at both", || [&first, &second].iter().all(|at| at.status(&link) == 404));
    }
}

/// Where kept answers outlive what they tell of: an old copy of one file beside a new one of the other, a partial loss.
#[test]
fn a_revocation_that_the_store_has_lost_is_recorded_anew_by_the_same_key() {
    let revoke = |linkgate: &Linkgate| {
        let answer = ask(linkgate, &linkgate.admin_key, "k", "/v1/revocations", &json!({ "subject": "ann" }));
        (answer.status, is_replayed(&answer))
    };
    let minted = json!({ "path": "a.txt", "subject": "ann" });

    let mut linkgate = Builder::new().start();
    let link = path_of(&linkgate.mint(&minted));
    linkgate.process.stop();
    let (file, copy) = (linkgate.data_dir().join("revocations.redb"), linkgate.data_dir().join("copy"));
    std::fs::copy(&file, &copy).unwrap();
    linkgate.launch();
    linkgate.until_ready();
    assert_eq!((revoke(&linkgate), linkgate.status(&link)), ((201, false), 410));
    linkgate.process.stop();
    std::fs::rename(&copy, &file).unwrap();
    linkgate.launch();
    linkgate.until_ready();
    assert_eq!((revoke(&linkgate), linkgate.status(&link)), ((201, false), 410));
    assert_eq!(revoke(&linkgate), (201, true));

    let redis = Redis::start();
    let mut linkgate = Builder::following(&redis.url()).start();
    let link = path_of(&linkgate.mint(&minted));
    assert_eq!((revoke(&linkgate), linkgate.status(&link)), ((201, false), 410));
    linkgate.process.stop();
    for key in ["t", "c", "m", "s", "g", "r", "i", "o", "x"] {
        redis.cli(&["DEL", &format!("linkgate:{{rv}}:{key}")]);
    }
    linkgate.succeed(&["store", "init", "--accept-loss"]);
    linkgate.launch();
    linkgate.until_ready();
    assert_eq!((revoke(&linkgate), linkgate.status(&link)), ((201, false), 410));
}
