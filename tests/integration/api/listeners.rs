use super::*;

/// Every route, and the audience it belongs to.
fn routes(link: &str) -> Vec<(&'static str, String, &'static str)> {
    vec![
        ("GET", link.to_owned(), "download"),
        ("GET", "/download/image/x".into(), "download"),
        ("GET", "/auth".into(), "download"),
        ("POST", "/v1/links".into(), "api"),
        ("POST", "/v1/links/batch".into(), "api"),
        ("POST", "/v1/links/inspect".into(), "api"),
        ("POST", "/v1/revocations".into(), "api"),
        ("GET", "/v1/revocations".into(), "api"),
        ("GET", "/v1/revocations/x".into(), "api"),
        ("GET", "/livez".into(), "ops"),
        ("GET", "/readyz".into(), "ops"),
        ("GET", "/metrics".into(), "ops"),
    ]
}

/// Starts with downloads on the usual socket, and the others as told.
fn start(api: &str, ops: &str) -> Linkgate {
    let mut linkgate = Builder::new().prepare();
    let file = linkgate.folder.path().join("linkgate.toml");
    let mut text = std::fs::read_to_string(&file).unwrap();
    for (name, place) in [("api", api), ("ops", ops)] {
        let socket = format!("{name} = \"unix:{}\"", linkgate.socket().display());
        let other = if place == "off" {
            place.to_owned()
        } else {
            format!("unix:{}", linkgate.folder.path().join(place).display())
        };
        assert!(text.contains(&socket));
        text = text.replace(&socket, &format!("{name} = {other:?}"));
    }
    std::fs::write(&file, text).unwrap();
    linkgate.launch();
    linkgate.file("a.txt", b"x");
    linkgate
}

fn place(linkgate: &Linkgate, name: &str) -> Place {
    Place::Unix(linkgate.folder.path().join(name))
}

fn mint(linkgate: &Linkgate, place: &Place) -> String {
    let authorization = format!("Bearer {}", linkgate.mint_key);
    let headers = [("Authorization", authorization.as_str()), ("Content-Type", "application/json")];
    path_of(&request(place, "POST", "/v1/links", &headers, b"{\"path\":\"a.txt\"}").json())
}

#[test]
fn each_of_three_sockets_answers_only_its_own_audience() {
    let linkgate = start("api.sock", "ops.sock");
    let places = [("download", "all.sock"), ("api", "api.sock"), ("ops", "ops.sock")];
    let link = mint(&linkgate, &place(&linkgate, "api.sock"));
    for (audience, socket) in places {
        for (method, path, owner) in routes(&link) {
            let answer = request(&place(&linkgate, socket), method, &path, &[], b"");
            if audience == owner {
                assert_ne!(answer.status, 404, "{path} on {socket}");
            } else {
                refused(&answer, 404, "not-found");
            }
        }
    }
    assert_eq!(linkgate.get(&link).status, 200);
    assert_eq!(request(&place(&linkgate, "ops.sock"), "GET", "/readyz", &[], b"").status, 200);
}

#[test]
fn a_listener_can_be_switched_off() {
    let linkgate = start("all.sock", "off");
    let link = mint(&linkgate, &linkgate.place());
    for (method, path, owner) in routes(&link) {
        let answer = request(&linkgate.place(), method, &path, &[], b"");
        assert_eq!(answer.status == 404, owner == "ops", "{path}: {}", answer.status);
    }
    let linkgate = start("off", "all.sock");
    for (method, path, owner) in routes("/download/image/x") {
        let answer = request(&linkgate.place(), method, &path, &[], b"");
        assert_eq!(answer.status == 404, owner == "api", "{path}: {}", answer.status);
    }
}

#[test]
fn the_operators_own_socket_needs_no_key_and_sends_no_files() {
    let linkgate = site();
    let operator = Place::Unix(linkgate.data_dir().join("operator.sock"));
    let headers = [("Content-Type", "application/json")];
    let link = request(&operator, "POST", "/v1/links", &headers, b"{\"path\":\"a.txt\"}");
    assert_eq!(link.status, 201);
    let path = path_of(&link.json());
    refused(&request(&operator, "GET", &path, &[], b""), 404, "not-found");
    assert_eq!(linkgate.get(&path).status, 200);
    refused(&request(&linkgate.place(), "POST", "/v1/links", &headers, b"{\"path\":\"a.txt\"}"), 401, "unauthorized");
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(linkgate.data_dir().join("operator.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
