use super::*;

fn batch(linkgate: &Linkgate, links: &Value) -> Response {
    linkgate.api_with(&linkgate.mint_key, "POST", "/v1/links/batch", &json!({ "links": links }))
}

#[test]
fn results_stand_in_the_order_of_the_requests() {
    let linkgate = site();
    let wishes: Vec<_> = (0..50).map(|n| json!({ "path": format!("{n}.txt"), "subject": "u" })).collect();
    let answer = batch(&linkgate, &json!(wishes));
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("cache-control").as_deref(), Some("no-store"));
    let results = answer.json()["results"].as_array().unwrap().clone();
    let paths: Vec<_> = results.iter().map(|link| link["path"].as_str().unwrap().to_owned()).collect();
    assert_eq!(paths, (0..50).map(|n| format!("{n}.txt")).collect::<Vec<_>>());
}

#[test]
fn a_bad_request_spoils_no_good_one() {
    let linkgate = site();
    linkgate.revoke(&json!({ "path": "blocked.txt" }));
    let wishes = json!([
        { "path": "a.txt" }, { "path": "../b" }, { "path": "a.txt", "what": 1 }, 7, { "path": "blocked.txt" },
        { "path": "a.txt", "rate_limit": 0 }, { "path": "a.txt", "collection": "none" }, { "path": "a.txt" },
    ]);
    let results = batch(&linkgate, &wishes).json()["results"].clone();
    let expected = [
        None,
        Some(("invalid-request", 400)),
        Some(("invalid-request", 400)),
        Some(("invalid-request", 400)),
        Some(("already-revoked", 409)),
        Some(("invalid-request", 400)),
        Some(("invalid-request", 400)),
        None,
    ];
    for (result, expected) in results.as_array().unwrap().iter().zip(expected) {
        match expected {
            None => assert_eq!(linkgate.get(&path_of(result)).status, 200, "{result}"),
            Some((name, status)) => {
                assert_eq!(result["type"], format!("urn:linkgate:problem:{name}"), "{result}");
                assert_eq!(result["status"], status, "{result}");
            }
        }
    }
    assert_eq!(results.as_array().unwrap().len(), expected.len());
}

#[test]
fn a_batch_holds_one_to_a_thousand_requests() {
    let linkgate = site();
    let wishes = |count| json!(vec![json!({ "path": "a.txt" }); count]);
    let answer = batch(&linkgate, &wishes(1_000));
    assert_eq!(answer.status, 200);
    let results = answer.json()["results"].clone();
    let mut ids: Vec<_> = results.as_array().unwrap().iter().map(|link| link["id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 1_000);
    for count in [0, 1_001] {
        let problem = refused(&batch(&linkgate, &wishes(count)), 400, "invalid-request");
        assert_eq!(problem["field"], "links");
    }
}

#[test]
fn what_is_no_batch_is_refused_whole() {
    let linkgate = site();
    for odd in [json!({ "path": "a.txt" }), json!("a.txt"), json!(null), json!(1)] {
        refused(&batch(&linkgate, &odd), 400, "invalid-request");
    }
    let deep = format!("{{\"links\":[{}{}]}}", "[".repeat(100_000), "]".repeat(100_000));
    let answer = send(&linkgate, "/v1/links/batch", deep.as_bytes());
    assert_eq!((answer.status, &answer.json()["results"][0]["status"]), (200, &json!(400)));
    refused(&send(&linkgate, "/v1/links/batch", b"{\"links\":[{]}"), 400, "invalid-request");
}
