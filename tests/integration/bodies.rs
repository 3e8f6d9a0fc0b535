//! What a body may cost: lists end at their limit, large bodies take bounded memory and hold up their caller alone.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::http::{Response, parse, request};
use crate::support::linkgate::{Builder, Linkgate, path_of};

const MIB: usize = 1 << 20;
/// The largest body that is taken.
const BODY: usize = 4 * MIB;

fn send(linkgate: &Linkgate, key: &str, method: &str, path: &str, body: &[u8]) -> Response {
    let headers = [("Authorization", &*format!("Bearer {key}")), ("Content-Type", "application/json")];
    request(&linkgate.place(), method, path, &headers, body)
}

/// A list of a body: the operation, the way to it, the bounds, and an item that it takes.
#[derive(Debug)]
struct List {
    method: String,
    path: String,
    way: Vec<String>,
    least: usize,
    most: Option<usize>,
    item: String,
}

impl List {
    /// The body up to the list's items, which are not closed.
    fn opening(&self) -> String {
        let way: Vec<_> = self.way.iter().map(|name| format!("\"{name}\":")).collect();
        // What else an operation insists on comes first.
        let first = match self.path.as_str() {
            "/v1/links" => "\"path\":\"a\",",
            _ => "",
        };
        format!("{{{first}{}[", way.join("{"))
    }

    fn closing(&self) -> String {
        format!("]{}", "}".repeat(self.way.len()))
    }

    /// Items, and something behind them.
    fn body(&self, items: usize, end: &str) -> String {
        format!("{}{}{end}", self.opening(), vec![self.item.as_str(); items].join(","))
    }

    fn send(&self, linkgate: &Linkgate, body: &str) -> Response {
        let path = self.path.replace("{name}", "someone");
        send(linkgate, &linkgate.admin_key, &self.method.to_uppercase(), &path, body.as_bytes())
    }
}

/// Every list of every body, read off the description that the server gives of itself.
fn lists(linkgate: &Linkgate) -> Vec<List> {
    let document = linkgate.get("/openapi.json").json();
    let mut found = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            for (kind, content) in operation["requestBody"]["content"].as_object().into_iter().flatten() {
                if kind == "application/json" {
                    let mut way = Vec::new();
                    collect(&document, &content["schema"], (method, path), &mut way, &mut found);
                }
            }
        }
    }
    found
}

fn collect(document: &Value, schema: &Value, of: (&str, &str), way: &mut Vec<String>, found: &mut Vec<List>) {
    let schema = resolve(document, schema);
    for branch in ["oneOf", "anyOf", "allOf"].iter().filter_map(|name| schema[*name].as_array()).flatten() {
        collect(document, branch, of, way, found);
    }
    if !schema["items"].is_null() {
        let items = resolve(document, &schema["items"]);
        let item = match (&items["enum"][0], items["type"].as_str()) {
            (Value::String(name), _) => json!(name),
            (_, Some("object")) => json!({ "path": "a" }),
            (_, Some("string")) => json!("10.0.0.1"),
            other => panic!("{of:?}: no item for {other:?}"),
        };
        let bound = |name: &str| schema[name].as_u64().map(|bound| bound as usize);
        found.push(List {
            method: of.0.to_owned(),
            path: of.1.to_owned(),
            way: way.clone(),
            least: bound("minItems").unwrap_or(0),
            most: bound("maxItems"),
            item: item.to_string(),
        });
    }
    // What stands in the items of a list is sent by itself elsewhere.
    for (name, member) in schema["properties"].as_object().into_iter().flatten() {
        way.push(name.clone());
        collect(document, member, of, way, found);
        way.pop();
    }
}

fn resolve<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap(),
        None => schema,
    }
}

#[test]
fn every_list_of_every_body_has_a_limit() {
    let lists = lists(&Builder::new().start());
    assert!(lists.len() >= 12, "{lists:#?}");
    let endless: Vec<_> = lists.iter().filter(|list| list.most.is_none()).collect();
    assert!(endless.is_empty(), "{endless:#?}");
}

#[test]
fn lists_are_read_no_further_than_their_limit() {
    let linkgate = Builder::new().start();
    for list in lists(&linkgate) {
        let most = list.most.unwrap_or(1_000);
        // What stands behind the last item that may be there would be a mistake of another kind.
        for behind in [",no JSON at all", ",[[[[[[[", ",\""] {
            let answer = list.send(&linkgate, &list.body(most, behind));
            assert_eq!(answer.status, 400, "{list:?}: {}", answer.text());
            let problem = answer.json();
            assert_eq!(problem["field"], list.way.join("."), "{list:?}: {problem}");
            let rule = format!("`{}` must hold at most {most} items.", list.way.join("."));
            assert_eq!(problem["detail"], rule, "{list:?}");
        }
    }
}

#[test]
fn lists_are_taken_up_to_their_limit() {
    let linkgate = Builder::new().start();
    for list in lists(&linkgate) {
        let most = list.most.unwrap_or(1_000);
        let answer = list.send(&linkgate, &list.body(most, &list.closing()));
        let refusal = answer.json();
        assert!(!refusal["detail"].as_str().unwrap_or_default().contains("must hold"), "{list:?}: {refusal}");
    }
    for list in lists(&linkgate).iter().filter(|list| list.path.starts_with("/v1/links/")) {
        let answer = list.send(&linkgate, &list.body(0, &list.closing()));
        assert_eq!((answer.status, list.least), (400, 1), "{list:?}");
        assert_eq!(answer.json()["field"], "links");
    }
}

/// What a process has taken at most since the last reset, in bytes.
struct Peak<'a>(&'a Linkgate, usize);

impl<'a> Peak<'a> {
    fn begin(linkgate: &'a Linkgate) -> Self {
        let process = linkgate.process.0.id();
        std::fs::write(format!("/proc/{process}/clear_refs"), "5").unwrap();
        let peak = Self(linkgate, 0);
        Self(linkgate, peak.field("VmRSS:"))
    }

    fn field(&self, name: &str) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.process.0.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
    }

    fn taken(&self) -> usize {
        self.field("VmHWM:").saturating_sub(self.1)
    }
}

/// `{"links":[…]}` of the largest size, filled with an item.
fn filled(item: &str) -> Vec<u8> {
    let items = vec![item; (BODY - 64) / (item.len() + 1)];
    format!("{{\"links\":[{}]}}", items.join(",")).into_bytes()
}

#[test]
fn a_hostile_body_takes_no_more_memory_than_four_times_its_size() {
    let linkgate = Builder::new().start();
    linkgate.mint(&json!({ "path": "a.txt" }));
    let del = "\u{7f}".repeat(BODY - 64);
    let bodies: [(&str, Vec<u8>); 9] = [
        ("/v1/links/batch", filled("0")),
        ("/v1/links/batch", filled("{}")),
        ("/v1/links/refresh", filled("\"\"")),
        ("/v1/links/batch", format!("{{\"links\":[{}", "[".repeat(BODY - 64)).into_bytes()),
        ("/v1/links/batch", format!("{{\"links\":[{{\"expires_in\":\"{del}\"}}]}}").into_bytes()),
        ("/v1/links", format!("{{\"path\":\"a\",\"expires_in\":\"{del}\"}}").into_bytes()),
        ("/v1/links", format!("{{\"{del}\":1}}").into_bytes()),
        ("/v1/links", format!("{{\"path\":\"a\",\"expires_in\":\"{}\"}}", "A".repeat(BODY - 64)).into_bytes()),
        ("/v1/links/inspect", format!("{{\"link\":\"{}\"}}", "A".repeat(BODY - 64)).into_bytes()),
    ];
    for (path, body) in bodies {
        let what = String::from_utf8_lossy(&body[..32]).into_owned();
        let peak = Peak::begin(&linkgate);
        let answer = send(&linkgate, &linkgate.admin_key, "POST", path, &body);
        assert!([200, 400].contains(&answer.status), "{path} {what}: {}", answer.status);
        let (taken, most) = (peak.taken(), 4 * (body.len() + answer.body.len()));
        // What a process takes up anyway while it answers its first large requests.
        assert!(taken <= most + 2 * MIB, "{path} {what}: {taken} bytes for {most}");
        assert!(answer.body.len() < 64 << 10, "{path} {what}: {} bytes are answered", answer.body.len());
    }
}

#[test]
fn the_largest_batch_takes_no_more_memory_than_four_times_what_it_brings_and_takes() {
    let linkgate = Builder::new().start();
    let path = format!("{}.jpg", "p/".repeat(480) + &"f".repeat(32));
    let body = json!({ "links": vec![json!({ "path": path }); 1_000] }).to_string();
    let peak = Peak::begin(&linkgate);
    let answer = send(&linkgate, &linkgate.mint_key, "POST", "/v1/links/batch", body.as_bytes());
    assert_eq!(answer.status, 200);
    let (taken, most) = (peak.taken(), 4 * (body.len() + answer.body.len()));
    assert!(taken <= most, "{taken} bytes for {most}");
}

#[test]
fn a_text_that_is_odd_and_too_long_for_any_field_is_refused_as_such() {
    let linkgate = Builder::new().start();
    let mint = |length: usize| {
        let body = json!({ "path": "a", "filename": "é".repeat(length / 2) }).to_string();
        send(&linkgate, &linkgate.mint_key, "POST", "/v1/links", body.as_bytes())
    };
    for length in [300, 20_000, 65_536] {
        assert_eq!((mint(length).status, &mint(length).json()["field"]), (400, &json!("filename")), "{length}");
    }
    for length in [65_538, BODY / 2] {
        let problem = mint(length).json();
        assert_eq!(
            problem["detail"], "a text of more than 65536 bytes that is not printable ASCII is taken nowhere",
            "{length}"
        );
    }
}

#[test]
fn a_large_body_is_answered_as_a_small_one_is() {
    let linkgate = Builder::new().start();
    linkgate.file("a.txt", b"contents");
    let padded = |body: &Value, size: usize| {
        let text = body.to_string();
        [&text[..1], &" ".repeat(size), &text[1..]].concat().into_bytes()
    };
    let bodies = [
        ("/v1/links", json!({ "path": "a.txt" }), 201),
        ("/v1/links", json!({ "path": "a.txt", "what": 1 }), 400),
        ("/v1/links/batch", json!({ "links": [{ "path": "a.txt" }, { "path": "/" }] }), 200),
        ("/v1/links/batch", json!({ "links": [] }), 400),
        ("/v1/links/inspect", json!({ "link": "x" }), 200),
        ("/v1/revocations", json!({ "subject": "u" }), 201),
        ("/v1/revocations", json!({}), 400),
        ("/v1/clients", json!({ "name": "-", "roles": ["mint"] }), 400),
    ];
    for (path, body, status) in bodies {
        for size in [0, 15_000, 17_000, 1_000_000] {
            let answer = send(&linkgate, &linkgate.admin_key, "POST", path, &padded(&body, size));
            assert_eq!(answer.status, status, "{path} {body} and {size} bytes: {}", answer.text());
            assert_eq!(answer.header("cache-control").as_deref(), Some("no-store"));
            assert!(answer.header("x-request-id").is_some());
        }
    }
    let minted =
        send(&linkgate, &linkgate.mint_key, "POST", "/v1/links", &padded(&json!({ "path": "a.txt" }), 100_000));
    assert_eq!(linkgate.get(&path_of(&minted.json())).body, b"contents");
    let unknown = send(&linkgate, "lgk_none", "POST", "/v1/links", &padded(&json!({ "path": "a.txt" }), 100_000));
    assert_eq!(unknown.status, 401);
    for path in ["/v1/links", "/v1/links/batch"] {
        let huge = send(&linkgate, &linkgate.mint_key, "POST", path, &padded(&json!({ "path": "a.txt" }), BODY));
        assert_eq!((huge.status, &huge.json()["type"]), (413, &json!("urn:linkgate:problem:payload-too-large")));
    }
}

#[test]
fn a_body_in_chunks_is_answered_as_one_with_a_length_is() {
    let linkgate = Builder::new().start();
    for (size, status) in [(10, 201), (20_000, 201), (BODY + 10, 413)] {
        let body = format!("{{\"path\":{}\"a.txt\"}}", " ".repeat(size));
        let mut request = format!(
            "POST /v1/links HTTP/1.1\r\nHost: test\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
            linkgate.mint_key
        )
        .into_bytes();
        for part in body.as_bytes().chunks(8_192) {
            request.extend(format!("{:x}\r\n", part.len()).bytes());
            request.extend(part);
            request.extend(b"\r\n");
        }
        request.extend(b"0\r\n\r\n");
        let answer = crate::support::http::raw(&linkgate.place(), &request).unwrap();
        assert_eq!(parse(&answer, "POST").unwrap().status, status, "{size}");
    }
}

/// Begins a request with a body of some length of which it sends the first part.
fn begin(linkgate: &Linkgate, key: &str, path: &str, length: usize, part: &[u8]) -> UnixStream {
    let mut stream = UnixStream::connect(linkgate.socket()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nAuthorization: Bearer {key}\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    // Who is refused meanwhile cannot send the rest.
    let _ = stream.write_all(part);
    stream
}

/// Reads an answer to its end, if there is one in time.
fn finish_within(mut stream: &UnixStream, span: Duration) -> Option<Response> {
    stream.set_read_timeout(Some(span)).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    (!answer.is_empty()).then(|| parse(&answer, "POST").unwrap())
}

#[test]
fn one_callers_large_bodies_keep_no_revocation_and_no_other_caller_waiting() {
    let linkgate = Builder::new().start();
    let other = linkgate.new_client("other", &["mint"]);
    eventually("the client is known", || {
        linkgate.api_with(&other, "POST", "/v1/links", &json!({ "path": "a.txt" })).status == 201
    });
    let batch = json!({ "links": vec![json!({ "path": "a.txt" }); 1_000] });
    // More than one caller has room for, and none of them ends.
    let begun: Vec<_> = std::thread::scope(|scope| {
        let begin = || begin(&linkgate, &linkgate.mint_key, "/v1/links/batch", BODY, &vec![b' '; BODY / 2]);
        let calls: Vec<_> = (0..12).map(|_| scope.spawn(begin)).collect();
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(linkgate.api_with(&other, "POST", "/v1/links/batch", &batch).status, 200);
        // The caller's own small requests are answered before any of the large ones.
        linkgate.mint(&json!({ "path": "a.txt" }));
        linkgate.revoke(&json!({ "subject": "u" }));
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    // Room for four halves, and the one that goes on without: the others are refused, or give way to them.
    let answers: Vec<_> = std::thread::scope(|scope| {
        let finish = |stream| finish_within(stream, Duration::from_secs(8));
        let calls: Vec<_> = begun.iter().map(|stream| scope.spawn(move || finish(stream))).collect();
        calls.into_iter().filter_map(|call| call.join().unwrap()).collect()
    });
    assert!(answers.len() >= 7, "{}", answers.len());
    for answer in answers {
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert_eq!(answer.json()["type"], "urn:linkgate:problem:busy");
        assert!(answer.header("retry-after").is_some());
    }
    drop(begun);
    eventually("there is room again", || {
        linkgate.api_with(&linkgate.mint_key, "POST", "/v1/links/batch", &batch).status == 200
    });
}

#[test]
fn large_bodies_that_come_all_at_once_are_all_answered() {
    let linkgate = Builder::new().start();
    let batch = json!({ "links": [{ "path": "a.txt" }] }).to_string();
    let body = format!("{}{}", " ".repeat(BODY - batch.len()), batch);
    let mint = || send(&linkgate, &linkgate.mint_key, "POST", "/v1/links/batch", body.as_bytes()).status;
    let statuses: Vec<_> = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..12).map(|_| scope.spawn(mint)).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    assert_eq!(statuses, [200; 12]);
}

#[test]
fn bodies_that_are_begun_take_no_more_memory_than_their_room() {
    let linkgate = Builder::new().start();
    let batch = json!({ "links": [{ "path": "a.txt" }] });
    let mint = || linkgate.api_with(&linkgate.mint_key, "POST", "/v1/links/batch", &batch).status;
    assert_eq!(mint(), 200);
    let (peak, now) = (Peak::begin(&linkgate), Instant::now());
    let begun: Vec<_> = std::thread::scope(|scope| {
        let begin = || begin(&linkgate, &linkgate.mint_key, "/v1/links/batch", BODY, &vec![b' '; 3 * MIB]);
        let calls: Vec<_> = (0..40).map(|_| scope.spawn(begin)).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    // Room for two of the largest and for one that goes on without, and what is left of the smaller pieces of each.
    assert!(peak.taken() < 36 * MIB, "{} MiB", peak.taken() / MIB);
    // Who finds none has waited for 5 s.
    assert!(now.elapsed() < Duration::from_secs(10), "{:?}", now.elapsed());
    drop(begun);
    eventually("there is room again", || mint() == 200);
}

#[test]
fn answers_that_are_not_read_take_no_more_than_their_room() {
    const CALLS: usize = 60;
    let linkgate = Builder::new().start();
    let path = format!("{}.jpg", "p/".repeat(480) + &"f".repeat(32));
    let body = json!({ "links": vec![json!({ "path": path }); 1_000] }).to_string();
    let peak = Peak::begin(&linkgate);
    let call = || begin(&linkgate, &linkgate.mint_key, "/v1/links/batch", body.len(), body.as_bytes());
    let unread: Vec<_> = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..CALLS).map(|_| scope.spawn(call)).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    // None goes on after that.
    std::thread::sleep(Duration::from_secs(6));
    // Room for two of the largest, and what it takes to make one.
    assert!(peak.taken() < 64 * MIB, "{} MiB", peak.taken() / MIB);
    linkgate.revoke(&json!({ "subject": "u" }));
    drop(unread);
    eventually("there is room again", || {
        send(&linkgate, &linkgate.mint_key, "POST", "/v1/links/batch", body.as_bytes()).status == 200
    });
}
